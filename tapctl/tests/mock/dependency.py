"""A dependency with state, as services have them: prints its port, then serves."""

import itertools
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

polls = itertools.count()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, status, body=b"", content_type="application/json", chunked=False):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("X-Answered-By", "dependency")
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD" or status in (204, 304):
            return
        if chunked:
            for start in range(0, len(body), 1000):
                piece = body[start : start + 1000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/job/1":
            state = ["pending", "running", "done"][min(next(polls), 2)]
            self.reply(200, json.dumps({"state": state}).encode())
        elif path == "/rates":
            self.reply(200, b'{"USD":1.1}')
        elif path == "/catalogue":
            items = [{"sku": f"sku-{n}", "text": "words " * 20} for n in range(200)]
            self.reply(200, json.dumps(items).encode(), chunked=True)
        elif path == "/page":
            self.reply(200, "<p>Grüße</p>".encode(), "text/html; charset=utf-8")
        else:
            self.reply(404, b'{"error":"unknown"}')

    do_HEAD = do_GET

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reply(201, json.dumps({"charged": order["amount"]}).encode())

    def do_DELETE(self):
        self.reply(204)


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
