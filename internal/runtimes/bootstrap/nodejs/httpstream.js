'use strict';
// awslambda.HttpResponseStream.
// https://docs.aws.amazon.com/lambda/latest/dg/config-rs-write-functions.html

const HTTP_TYPE = 'application/vnd.awslambda.http-integration-response';

// HttpResponseStream puts the status and headers of an HTTP response before
// its body: JSON and eight NUL bytes.
class HttpResponseStream {
  static from(stream, metadata) {
    stream.setContentType(HTTP_TYPE);
    stream.setPrelude(Buffer.concat([Buffer.from(JSON.stringify(metadata)), Buffer.alloc(8)]));
    return stream;
  }
}

module.exports = { HttpResponseStream };
