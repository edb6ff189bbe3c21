'use strict';

// onward chooses the port, so that the old and the new release can run side by side.
const port = Number(process.env.PORT || 3000);
const release = process.env.ONWARD_RELEASE || 'none';
const label = process.env.ONWARD_LABEL || 'not deployed';

const server = require('node:http').createServer((request, response) => {
  request.resume();
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  response.end(`Hello, world\nrelease ${release} (${label})\n`);
});

// Longer than a proxy keeps its idle connections, so that the proxy is the one who closes them.
server.keepAliveTimeout = 75_000;
server.listen(port, '127.0.0.1');

// Answer what is under way, then leave.
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
