"""A shop: login, account, cart, purchase. Prints `listening on <port>`.

    shop.py DATA.json     the data: customers with their credentials, sessions, cards

Everything that it says of a person is in the data, so that an instance whose data was redacted by `tapctl redact --write`
knows what is in a redacted capture. What a session is called is in the data, too: a server that rolls dice would call it
otherwise at each run, which no token can follow.

Each answer's body is printed as one line, `answer <JSON>`.
"""

import http.server
import json
import socketserver
import sys
import threading
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

with open(sys.argv[1], encoding="utf-8") as file:
    CUSTOMERS = json.load(file)["customers"]
PRICES = {"desk": 199.5, "lamp": 39.0}
CARTS = {}
LOCK = threading.Lock()


class Refused(Exception):
    def __init__(self, status, reason):
        self.status, self.reason = status, reason


def customer_by(field, value):
    for customer in CUSTOMERS:
        if value is not None and customer[field] == value:
            return customer
    raise Refused(401, "unknown " + field)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.serve("GET")

    def do_POST(self):
        self.serve("POST")

    def serve(self, method):
        length = int(self.headers.get("Content-Length", 0))
        content = self.rfile.read(length)
        self.cookies = []
        try:
            status, answer = 200, self.route(method, content)
        except Refused as refused:
            status, answer = refused.status, {"error": refused.reason}
        body = json.dumps(answer).encode()
        with LOCK:
            print("answer", body.decode(), flush=True)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for cookie in self.cookies:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(body)

    def route(self, method, content):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        match method, url.path.strip("/").split("/"):
            case "POST", ["login"]:
                form = {name: values[0] for name, values in parse_qs(content.decode()).items()}
                customer = customer_by("email", form.get("email"))
                if customer["password"] != form.get("password"):
                    raise Refused(401, "wrong password")
                self.cookies.append(f"session={customer['session']}; Path=/; HttpOnly")
                return {"access_token": customer["access_token"], "email": customer["email"]}
            case "GET", ["account"]:
                customer = self.by_session()
                return {name: customer[name] for name in ("email", "first_name", "phone")}
            case "GET", ["customers", email]:
                # The address is in the path, percent-encoded.
                customer = customer_by("email", email.replace("%40", "@"))
                return {"first_name": customer["first_name"]}
            case "POST", ["cart"]:
                customer = self.by_bearer()
                item = json.loads(content)["item"]
                CARTS.setdefault(customer["email"], []).append(item)
                return {"items": CARTS[customer["email"]]}
            case "POST", ["purchase"]:
                customer = self.by_session()
                order = json.loads(content)
                if order["csrf_token"] != customer["csrf_token"]:
                    raise Refused(403, "wrong token")
                card = next((card for card in customer["cards"] if card["card_number"] == order["card_number"]), None)
                if card is None or card["cvv"] != order["cvv"]:
                    raise Refused(402, "unknown card")
                items = CARTS.pop(customer["email"], [])
                return {"paid": sum(PRICES[item] for item in items), "card_number": card["card_number"], "to": customer["email"]}
            case "GET", ["form"]:
                return {"csrf_token": self.by_session()["csrf_token"]}
            case "GET", ["receipt"]:
                customer = customer_by("access_token", query.get("access_token"))
                return {"note": f"A receipt went to {customer['email']}, {customer['phone']}."}
            case _:
                raise Refused(404, "no such thing")

    def by_session(self):
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("session")
        return customer_by("session", cookie.value if cookie else None)

    def by_bearer(self):
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return customer_by("access_token", token if scheme == "Bearer" else None)

    def log_message(self, *arguments):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
print("listening on", server.server_port, flush=True)
server.serve_forever()
