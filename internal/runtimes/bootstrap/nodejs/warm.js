'use strict';
// What a runtime of the pool does before it has a function, so that the
// function need not wait for it: it imports modules and, of the AWS SDK, runs
// the code that a first call runs. Nothing of it can be seen by the function:
// the client answers itself, and what the process keeps of it is compiled code.

const { createRequire } = require('module');
const path = require('path');
const { pathToFileURL } = require('url');

// From here only the runtime's own modules are found. Node.js remembers where
// it found a name, seen from a folder: looked up from the function's, its own
// copy of a module would be passed over.
const rootRequire = createRequire('/index.mjs');

async function load(name) {
  const found = rootRequire.resolve(name);
  return import(path.isAbsolute(found) ? pathToFileURL(found) : found);
}

// A first call with the default credentials asks the environment for them.
const CREDENTIALS = { AWS_ACCESS_KEY_ID: 'AKIAIOSFODNN7EXAMPLE', AWS_SECRET_ACCESS_KEY: 'none' };

// exercise reads and writes an object that is not there, through everything
// but the network.
async function exercise({ S3Client, GetObjectCommand, PutObjectCommand }) {
  const { Readable } = require('stream');
  const requestHandler = {
    metadata: { handlerProtocol: 'http/1.1' },
    async handle(request) {
      const headers = { etag: '"0"', 'content-length': '0', 'x-amz-request-id': '0' };
      return { response: { statusCode: 200, reason: 'OK', headers, body: Readable.from([]) }, method: request.method };
    },
    destroy() {},
    updateHttpClientConfig() {},
    httpHandlerConfigs: () => ({}),
  };
  const where = { Bucket: 'bucket', Key: 'key' };
  Object.assign(process.env, CREDENTIALS);
  try {
    const client = new S3Client({ region: 'us-east-1', requestHandler });
    const got = await client.send(new GetObjectCommand(where));
    await got.Body.transformToByteArray();
    await client.send(new PutObjectCommand({ ...where, Body: Buffer.from('0') }));
  } finally {
    for (const name of Object.keys(CREDENTIALS)) delete process.env[name];
  }
}

// shakeHands makes a TLS connection to Davy and sends nothing.
function shakeHands(host, caFile) {
  const ca = require('fs').readFileSync(caFile);
  return new Promise((done) => {
    const socket = require('tls').connect({ host, servername: host, port: 443, ca, ALPNProtocols: ['http/1.1'] });
    const end = () => {
      socket.destroy();
      done();
    };
    socket.on('secureConnect', end).on('error', end).setTimeout(1000, end);
  });
}

// The SDK warns once in a process, when the first client is made, that it will
// not support an old Node.js for long. The function's author is to read that.
const quiet = Number(process.versions.node.split('.')[0]) >= 22;

// warm does it all. What fails is for who needs it to hear of.
module.exports.warm = async function warm({ modules, exerciseSDK, host, caFile }) {
  for (const name of modules) {
    try {
      const module = await load(name);
      if (!exerciseSDK || !quiet) continue;
      await exercise(module);
      if (caFile) await shakeHands(host, caFile);
    } catch {
      continue;
    }
  }
  require('worker_threads'); // which trust.js changes
};
