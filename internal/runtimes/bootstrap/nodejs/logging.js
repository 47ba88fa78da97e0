'use strict';
// console in AWS's two formats, text and JSON, and what is written to stdout
// and stderr.
// https://docs.aws.amazon.com/lambda/latest/dg/nodejs-logging.html

const { format } = require('util');
const { T, send } = require('./channel.js');
const errors = require('./errors.js');

const MAX_EVENT = 256 << 10; // bytes of one log event
const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];

let requestId; // printed as "undefined" during init, as AWS does
let inJSON = false;

const asText = (level, args) => `${new Date().toISOString()}\t${requestId}\t${level}\t${format(...args)}\n`;

const typeOf = (error) => error.constructor?.name ?? 'UnknownError';
const linesOf = (error) => (typeof error.stack === 'string' ? error.stack.split('\n') : undefined);

// opened shows what JSON leaves out of an error.
function opened(_key, value) {
  if (!(value instanceof Error)) return value;
  return { errorType: typeOf(value), errorMessage: value.message, stackTrace: linesOf(value) ?? value.stack, ...value };
}

// asJSON keeps a value that stands alone as it is, and formats several like
// text. The first error among those has fields of its own.
function asJSON(level, args) {
  const line = { timestamp: new Date().toISOString(), level, requestId };
  if (args.length === 1) {
    try {
      return JSON.stringify({ ...line, message: args[0] }, opened);
    } catch {
      return JSON.stringify({ ...line, message: format(args[0]) });
    }
  }
  line.message = format(...args);
  const error = args.slice(1).find((arg) => arg instanceof Error);
  if (error) {
    line.errorType = typeOf(error);
    line.errorMessage = error.message;
    line.stackTrace = linesOf(error) ?? [];
  }
  return JSON.stringify(line);
}

function emit(level, args) {
  let text = inJSON ? asJSON(level, args) : asText(level, args);
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
  inJSON = String(process.env.AWS_LAMBDA_LOG_FORMAT).toUpperCase() === 'JSON';
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
  // failure writes the error that ended an invocation, or all.
  failure(title, error) {
    if (inJSON) console.error(errors.asError(error));
    else console.error(title, errors.logged(error));
  },
  install() {
    patchStream('stdout');
    patchStream('stderr');
    patchConsole();
  },
  setRequestId(id) {
    requestId = id;
  },
};
