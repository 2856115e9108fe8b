"""As client.py, by the library that most services use, on one connection."""

import hashlib
import os

import requests

base = os.environ["PODTAP_MOCK_URL"]
session = requests.Session()


def ask(method, path, **arguments):
    answer = session.request(method, base + path, timeout=60, **arguments)
    digest = hashlib.sha256(answer.content).hexdigest()[:16]
    print(method, path, answer.status_code, answer.headers["Content-Type"], len(answer.content), digest)


for _ in range(5):
    ask("GET", "/job/1")
ask("GET", "/rates", params={"date": "today", "base": "EUR"})
ask("GET", "/catalogue")
ask("HEAD", "/page")
ask("GET", "/page")
ask("POST", "/charges", json={"email": "ann@example.com", "card": "4111111111111111", "amount": 100})
ask("DELETE", "/charges/17")
