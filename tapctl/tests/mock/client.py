"""What a service asks of its dependency, by Python's own HTTP client; prints what it gets."""

import hashlib
import json
import os
import urllib.error
import urllib.request

base = os.environ["PODTAP_MOCK_URL"]


def ask(method, path, body=None):
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, content, {"Content-Type": "application/json"}, method=method)
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        content = answer.read()
        digest = hashlib.sha256(content).hexdigest()[:16]
        print(method, path, answer.status, answer.headers["Content-Type"], len(content), digest)


for _ in range(5):
    ask("GET", "/job/1")
ask("GET", "/rates?base=EUR&date=today")
ask("GET", "/catalogue")
ask("HEAD", "/page")
ask("GET", "/page")
ask("GET", "/elsewhere")
ask("POST", "/charges", {"amount": 100, "card": "4111111111111111", "email": "ann@example.com"})
ask("DELETE", "/charges/17")
