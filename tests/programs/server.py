"""Answers each request with its own body, or with /bytes/<n> of text. Prints `listening on <port>`.

The address and port to listen on may be given; otherwise it is a free port of 127.0.0.1.
"""

import http.server
import socketserver
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self):
        body = self.read_body()
        if self.path.startswith("/bytes/"):
            size = int(self.path.removeprefix("/bytes/"))
            body = (b"0123456789abcde\n" * (size // 16 + 1))[:size]
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("X-Method", self.command)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = answer

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def log_message(self, *arguments):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 1024


address, port = sys.argv[1:] or ("127.0.0.1", 0)
server = Server((address, int(port)), Handler)
print("listening on", server.server_port, flush=True)
sys.stdout.flush()
server.serve_forever()
