// Answers each request with its own body, or with /bytes/<n> of text. Prints `listening on <port>`.

import http from "node:http";

const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    let body = Buffer.concat(parts);
    if (request.url.startsWith("/bytes/")) {
      body = Buffer.alloc(Number(request.url.slice("/bytes/".length)), "0123456789abcde\n");
    }
    // Without a length, so that Node sends chunks.
    response.writeHead(200, { "Content-Type": "text/plain", "X-Method": request.method });
    response.end(request.method === "HEAD" ? undefined : body);
  });
});

// Clients decide when to close.
server.keepAliveTimeout = 0;
server.listen(0, "127.0.0.1", () => console.log("listening on", server.address().port));
