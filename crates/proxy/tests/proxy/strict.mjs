// A strict HTTP server that tells on its output what it understood: one JSON line for each request
// that it read to its end, and one for each message that it could not parse.
import http from "node:http";

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const server = http.createServer({ insecureHTTPParser: false }, (request, response) => {
  let bytes = 0;
  request.on("data", (chunk) => (bytes += chunk.length));
  request.on("error", () => {});
  request.on("end", () => {
    say({ read: `${request.method} ${request.url} ${bytes}` });
    response.end();
  });
});
server.on("checkContinue", (request, response) => server.emit("request", request, response));
server.on("clientError", (error, socket) => {
  // A client that leaves in the middle is not a misunderstanding.
  if (error.code?.startsWith("HPE_") && error.code !== "HPE_INVALID_EOF_STATE") say({ refused: error.code });
  socket.destroy();
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
process.stdin.resume().on("end", () => process.exit());
