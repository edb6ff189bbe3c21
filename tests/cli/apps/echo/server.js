// Echoes the text frames of WebSockets; everything else gets a greeting. Nothing from npm.
const crypto = require('node:crypto');
const http = require('node:http');

const server = http.createServer((request, response) => response.end('echo\n'));

server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(key).digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let bytes = Buffer.alloc(0);
  socket.on('data', (more) => {
    bytes = Buffer.concat([bytes, more]);
    // A masked frame of less than 126 bytes: opcode, length, four bytes of mask, the text.
    while (bytes.length >= 6 && bytes.length >= 6 + (bytes[1] & 127)) {
      const length = bytes[1] & 127;
      const mask = bytes.subarray(2, 6);
      const text = bytes.subarray(6, 6 + length).map((byte, i) => byte ^ mask[i % 4]);
      bytes = bytes.subarray(6 + length);
      const answer = Buffer.concat([Buffer.from(`${process.env.ONWARD_RELEASE}: `), text]);
      socket.write(Buffer.concat([Buffer.from([0x81, answer.length]), answer]));
    }
  });
  socket.on('error', () => socket.destroy());
});

server.listen(process.env.PORT, '127.0.0.1');
