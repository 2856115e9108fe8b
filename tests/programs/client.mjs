// Sends requests over one kept-alive connection; prints what it sent and got, one JSON object a line.
//
//     client.mjs <base url> <requests>

import http from "node:http";

const [base, count] = [process.argv[2], Number(process.argv[3])];
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function send(method, path, body, headers) {
  return new Promise((resolve, reject) => {
    const request = http.request(new URL(path, base), { method, headers, agent }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () => resolve({ status: response.statusCode, body: Buffer.concat(parts).toString() }));
    });
    request.on("error", reject);
    request.end(body);
  });
}

for (let number = 0; number < count; number++) {
  const method = ["GET", "POST", "PUT", "DELETE", "HEAD"][number % 5];
  const path = `/node/${number}?n=${number}`;
  const body = method === "POST" || method === "PUT" ? `node request ${number}\n`.repeat((number * 7) % 50) : "";
  const headers = { "Content-Type": "text/plain", "X-Number": String(number) };
  if (method === "PUT") headers["Transfer-Encoding"] = "chunked";
  else if (body) headers["Content-Length"] = Buffer.byteLength(body);
  const response = await send(method, path, body || undefined, headers);
  console.log(JSON.stringify({
    method, path, status: response.status, request_body: body, response_body: response.body,
  }));
}
agent.destroy();
