'use strict';
// The stream that a handler marked with awslambda.streamifyResponse writes to.
// https://docs.aws.amazon.com/lambda/latest/dg/config-rs-write-functions.html

const { Writable, finished } = require('stream');
const { promisify } = require('util');
const { T, send, hold, letGo } = require('./channel.js');
const errors = require('./errors.js');
const { baseContext, begin, fail, respond } = require('./invocation.js');

const MAX_CHUNK = 64 << 10;
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');

// A write returns when Davy has taken it, and Davy takes no more than the
// caller does: a slow reader slows the function down.
class ResponseStream extends Writable {
  #prelude = null;
  #written = false;

  setContentType(type) {
    if (this.#written) throw new errors.InvalidStreamingOperation('Cannot set content-type, too late.');
    this.contentType = type;
  }

  // write takes what is neither text nor bytes as JSON, as AWS's stream does.
  write(chunk, ...rest) {
    this.#written = true;
    const plain = typeof chunk === 'string' || chunk instanceof Uint8Array;
    return super.write(plain ? chunk : JSON.stringify(chunk), ...rest);
  }

  setPrelude(bytes) {
    this.#prelude = bytes;
  }

  #open() {
    if (this.#prelude === null) return;
    send(T.CHUNK, this.#prelude);
    this.#prelude = null;
  }

  _write(chunk, _encoding, done) {
    this.#open();
    for (let at = 0; at < chunk.length; at += MAX_CHUNK) send(T.CHUNK, chunk.subarray(at, at + MAX_CHUNK));
    done();
  }

  _final(done) {
    this.#open();
    done();
  }
}

const ended = promisify(finished);

// waiting is the context of the runtimes with callbacks: what the handler left
// behind in the event loop keeps the invocation running, unless told not to.
function waiting(meta) {
  let waitForEmptyLoop = true;
  return Object.defineProperty(baseContext(meta), 'callbackWaitsForEmptyEventLoop', {
    enumerable: true,
    get: () => waitForEmptyLoop,
    set(value) {
      waitForEmptyLoop = value;
    },
  });
}

// withStream gives the handler a stream to write its response to. A stream that
// is not ended keeps the invocation running, whatever the handler does: on AWS
// it is an open connection.
async function withStream(handler, meta, payload, callbacks) {
  const id = meta.id;
  let finished = false;
  const once = (f) => {
    if (finished) return;
    finished = true;
    f();
  };
  const succeed = () => once(() => respond(id, ''));
  begin(id, succeed);
  hold();
  try {
    const stream = new ResponseStream(options(handler));
    const broken = new Promise((_, reject) => stream.once('error', reject));
    const context = callbacks ? waiting(meta) : baseContext(meta);
    const result = handler(JSON.parse(payload.toString()), stream, context);
    if (!result || typeof result.then !== 'function') {
      throw new errors.MalformedStreamingHandler('Streaming does not support non-async handlers.');
    }
    if ((await Promise.race([result, broken])) !== undefined) console.warn('Streaming handlers ignore return values.');
    await Promise.race([ended(stream), broken]);
    if (callbacks && context.callbackWaitsForEmptyEventLoop) letGo();
    else succeed();
  } catch (error) {
    once(() => fail(id, error));
  }
}

// options are those of a handler's stream, from streamifyResponse.
function options(handler) {
  const highWaterMark = Number.parseInt(handler[HIGH_WATER_MARK], 10);
  return highWaterMark > 0 ? { highWaterMark } : {};
}

module.exports = { withStream };
