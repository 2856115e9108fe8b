// As client.py, by Node's fetch.
import { createHash } from "node:crypto";

const base = process.env.PODTAP_MOCK_URL;

async function ask(method, path, body) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(base + path, { method, headers, body: body && JSON.stringify(body) });
  const content = Buffer.from(await answer.arrayBuffer());
  const digest = createHash("sha256").update(content).digest("hex").slice(0, 16);
  console.log(method, path, answer.status, answer.headers.get("content-type"), content.length, digest);
}

for (let poll = 0; poll < 5; poll++) await ask("GET", "/job/1");
await ask("GET", "/rates?base=EUR");
await ask("GET", "/catalogue");
await ask("HEAD", "/page");
await ask("GET", "/page");
await ask("POST", "/charges", { amount: 100, card: "4111111111111111" });
await ask("DELETE", "/charges/17");
