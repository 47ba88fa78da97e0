'use strict';
// The stream that a handler marked with awslambda.streamifyResponse writes to.
// https://docs.aws.amazon.com/lambda/latest/dg/config-rs-write-functions.html

const { Writable, finished } = require('stream');
const { promisify } = require('util');
const { T, send } = require('./channel.js');
const errors = require('./errors.js');
const { baseContext, begin, fail, respond } = require('./invocation.js');

const MAX_CHUNK = 64 << 10;

// A write returns when Davy has taken it, and Davy takes no more than the
// caller does: a slow reader slows the function down.
class ResponseStream extends Writable {
  #prelude = null;

  setContentType(type) {
    this.contentType = type;
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

// withStream gives the handler a stream to write its response to.
async function withStream(handler, meta, payload) {
  const id = meta.id;
  let finished = false;
  const once = (f) => {
    if (finished) return;
    finished = true;
    f();
  };
  begin(id, () => once(() => fail(id, new errors.NodeJsExit())));
  try {
    const stream = new ResponseStream();
    const broken = new Promise((_, reject) => stream.once('error', reject));
    const result = handler(JSON.parse(payload.toString()), stream, baseContext(meta));
    if (!result || typeof result.then !== 'function') {
      throw new errors.MalformedStreamingHandler('Streaming does not support non-async handlers.');
    }
    await Promise.race([result, broken]);
    if (!stream.writableEnded) stream.end();
    await Promise.race([ended(stream), broken]);
    once(() => respond(id, ''));
  } catch (error) {
    once(() => fail(id, error));
  }
}

module.exports = { withStream };
