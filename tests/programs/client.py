"""Sends requests over one kept-alive connection; prints what it sent and got, one JSON object a line.

    client.py <base url> <requests>
"""

import http.client
import json
import sys
import urllib.parse

base, count = urllib.parse.urlsplit(sys.argv[1]), int(sys.argv[2])
connection = http.client.HTTPConnection(base.hostname, base.port, timeout=60)
for number in range(count):
    method = ["GET", "POST", "PUT", "DELETE", "HEAD"][number % 5]
    path = f"/python/{number}?n={number}"
    body = f"python request {number}\n" * (number * 7 % 50) if method in ("POST", "PUT") else None
    headers = {"Content-Type": "text/plain", "X-Number": str(number)}
    # A list is sent in chunks.
    chunked = method == "PUT"
    sent = [part.encode() for part in body.splitlines(keepends=True)] if chunked else body
    connection.request(method, path, body=sent, headers=headers, encode_chunked=chunked)
    response = connection.getresponse()
    received = response.read().decode()
    print(json.dumps({
        "method": method, "path": path, "status": response.status,
        "request_body": body or "", "response_body": received,
    }))
