'use strict';
// The stream that a handler marked with awslambda.streamifyResponse writes to.
// https://docs.aws.amazon.com/lambda/latest/dg/config-rs-write-functions.html

const { Writable, finished } = require('stream');
const { promisify } = require('util');
const { T, send } = require('./channel.js');

const MAX_CHUNK = 64 << 10;
const HTTP_TYPE = 'application/vnd.awslambda.http-integration-response';

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

// HttpResponseStream puts the status and headers of an HTTP response before
// its body: JSON and eight NUL bytes.
class HttpResponseStream {
  static from(stream, metadata) {
    stream.setContentType(HTTP_TYPE);
    stream.setPrelude(Buffer.concat([Buffer.from(JSON.stringify(metadata)), Buffer.alloc(8)]));
    return stream;
  }
}

module.exports = { HttpResponseStream, ResponseStream, finish: promisify(finished) };
