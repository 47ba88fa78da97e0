'use strict';
// console in AWS's text format, and what is written to stdout and stderr.
// https://docs.aws.amazon.com/lambda/latest/dg/nodejs-logging.html

const { format } = require('util');
const { T, send } = require('./channel.js');

const MAX_EVENT = 256 << 10; // bytes of one log event
const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];

let requestId; // printed as "undefined" during init, as AWS does

function emit(level, args) {
  let text = `${new Date().toISOString()}\t${requestId}\t${level}\t${format(...args)}\n`;
  if (Buffer.byteLength(text) <= MAX_EVENT) {
    send(T.LOG, text);
    return;
  }
  text = Buffer.from(text);
  for (let at = 0; at < text.length; at += MAX_EVENT) {
    send(T.LOG, text.subarray(at, at + MAX_EVENT));
  }
}

function patchConsole() {
  const minimum = Math.max(0, LEVELS.indexOf(String(process.env.AWS_LAMBDA_LOG_LEVEL).toUpperCase()));
  for (const method of ['trace', 'debug', 'info', 'warn', 'error', 'fatal']) {
    const level = method.toUpperCase();
    console[method] =
      LEVELS.indexOf(level) >= minimum
        ? (message, ...rest) => emit(level, [message, ...rest])
        : () => {};
  }
  console.log = console.info;
}

// Writes of this process to stdout and stderr travel in the channel, so they
// keep their place among console's lines. Its children write to the pipes.
function patchStream(name) {
  const own = Object.getOwnPropertyDescriptor(process, name);
  let stream;
  Object.defineProperty(process, name, {
    configurable: true,
    enumerable: true,
    get() {
      if (stream) return stream;
      stream = own.get.call(process);
      stream.write = (chunk, encoding, done) => {
        if (typeof encoding === 'function') [done, encoding] = [encoding, undefined];
        const bytes = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : Buffer.from(chunk);
        for (let at = 0; at < bytes.length; at += MAX_EVENT) {
          send(T.OUTPUT, bytes.subarray(at, at + MAX_EVENT));
        }
        if (typeof done === 'function') process.nextTick(done);
        return true;
      };
      return stream;
    },
  });
}

module.exports = {
  install() {
    patchStream('stdout');
    patchStream('stderr');
    patchConsole();
  },
  setRequestId(id) {
    requestId = id;
  },
};
