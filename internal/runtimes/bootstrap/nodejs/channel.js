'use strict';
// The control channel to Davy: frames over two inherited pipes.
//
//   +----------------+---------+---------------------------------------+
//   | length, u32 BE | type u8 | body (length bytes)                   |
//   +----------------+---------+---------------------------------------+
//
// A body is text, or JSON metadata and bytes: u32 BE length of the metadata,
// the metadata, the bytes. Reading is asynchronous, so that the event loop
// decides when the next invocation starts. Writing is synchronous: what was
// written before a crash or an exit arrives, in the order it was written.

const fs = require('fs');
const { internal } = require('./internal.js');

const IN = 3;
const OUT = 4;
const HEADER = 5;
const MAX_FRAME = 32 << 20;

const T = Object.freeze({
  INIT: 1,
  INVOKE: 2,
  WARM: 3,
  TERMINATE: 4,
  BOOTED: 16,
  READY: 17,
  INIT_ERROR: 18,
  RESPONSE: 19,
  ERROR: 20,
  LOG: 21,
  OUTPUT: 22,
  TOO_LARGE: 23,
  CHUNK: 24,
});

let handle; // kept from the garbage collector
const header = Buffer.alloc(HEADER);
let have = 0; // bytes of the header or of the body
let body = null;

// open calls onFrame(type, body) for each frame that arrives.
function open(onFrame) {
  const buffer = Buffer.allocUnsafeSlow(64 << 10);
  handle = openPipe(buffer, (n) => read(buffer, n, onFrame)) ?? openSocket(buffer, (n) => read(buffer, n, onFrame));
}

// openPipe reads from the handle that is inside every net.Socket. The module
// net, and the streams below it, are a fifth of a small function's memory and
// a tenth of its start: they are loaded by functions that want them.
function openPipe(buffer, onBytes) {
  const { Pipe, constants } = internal('pipe_wrap') ?? {};
  const { streamBaseState: state, kReadBytesOrError: count } = internal('stream_wrap') ?? {};
  if (!Pipe || !state || typeof Pipe.prototype.useUserBuffer !== 'function') return null;
  const pipe = new Pipe(constants.SOCKET);
  pipe.open(IN);
  pipe.useUserBuffer(buffer);
  pipe.onread = () => {
    const n = state[count];
    if (n > 0) onBytes(n);
    else if (n < 0) process.reallyExit(0); // Davy is gone: nothing is left to run for.
  };
  pipe.readStart();
  return pipe;
}

// openSocket is for a Node.js whose inside looks different.
function openSocket(buffer, onBytes) {
  const { Socket } = require('net');
  const socket = new Socket({
    fd: IN,
    readable: true,
    writable: false,
    onread: {
      buffer,
      callback(n) {
        onBytes(n);
        return true;
      },
    },
  });
  socket.on('end', () => process.reallyExit(0));
  socket.on('error', () => process.reallyExit(0));
  socket.resume();
  return socket;
}

function read(chunk, n, onFrame) {
  let at = 0;
  while (at < n) {
    const target = body === null ? header : body;
    const take = Math.min(target.length - have, n - at);
    chunk.copy(target, have, at, at + take);
    have += take;
    at += take;
    if (have < target.length) return;
    have = 0;
    if (body === null) {
      const length = header.readUInt32BE(0);
      if (length > MAX_FRAME) throw new RangeError('frame too long');
      body = Buffer.allocUnsafe(length);
      if (length > 0) continue;
    }
    const whole = body;
    body = null;
    onFrame(header[4], whole);
  }
}

function writeAll(buffer) {
  for (let at = 0; at < buffer.length; ) {
    at += fs.writeSync(OUT, buffer, at, buffer.length - at);
  }
}

// send writes a frame whose body is text or bytes.
function send(type, text) {
  const length = Buffer.byteLength(text);
  const frame = Buffer.allocUnsafe(HEADER + length);
  frame.writeUInt32BE(length, 0);
  frame[4] = type;
  if (typeof text === 'string') frame.write(text, HEADER);
  else frame.set(text, HEADER);
  writeAll(frame);
}

// sendWith writes a frame of metadata and a payload string.
function sendWith(type, meta, payload) {
  const json = JSON.stringify(meta);
  const metaLength = Buffer.byteLength(json);
  const length = 4 + metaLength + Buffer.byteLength(payload);
  const frame = Buffer.allocUnsafe(HEADER + length);
  frame.writeUInt32BE(length, 0);
  frame[4] = type;
  frame.writeUInt32BE(metaLength, HEADER);
  frame.write(json, HEADER + 4);
  frame.write(payload, HEADER + 4 + metaLength);
  writeAll(frame);
}

// split takes a body of metadata and bytes apart.
function split(frameBody) {
  const metaLength = frameBody.readUInt32BE(0);
  return [JSON.parse(frameBody.toString('utf8', 4, 4 + metaLength)), frameBody.subarray(4 + metaLength)];
}

module.exports = {
  T,
  open,
  send,
  sendWith,
  split,
  // While a handler runs the channel does not keep the event loop alive: an
  // empty loop is how a handler that never answers is noticed.
  hold: () => handle.ref(),
  letGo: () => handle.unref(),
};
