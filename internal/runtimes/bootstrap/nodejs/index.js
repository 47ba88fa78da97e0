'use strict';
// Davy's bootstrap of the managed Node.js runtimes. Booted, it waits to be
// assigned a function (INIT), loads its handler and runs one INVOKE at a time.
// Before that it may be told to import modules (WARM).

const { hideHeapFlags, showHeapFlags } = require('./internal.js');
hideHeapFlags(false); // before any other module is loaded
const channel = require('./channel.js');
const errors = require('./errors.js');
const handlers = require('./handler.js');
const invocation = require('./invocation.js');
const layers = require('./layers.js');
const logging = require('./logging.js');
const trust = require('./trust.js');

const { T } = channel;
const EXIT_REJECTION = 128;
const EXIT_EXCEPTION = 129;

// The AWS SDK adds to it when it is imported.
globalThis.awslambda = handlers.awslambda;

let run = null; // (meta, payload) => void, once the handler is loaded

function crash(title, error, code) {
  logging.failure(title, error);
  if (run === null) channel.send(T.INIT_ERROR, JSON.stringify(errors.response(error)));
  else invocation.crash(error);
  process.exit(code);
}

process.on('uncaughtException', (error) => crash('Uncaught Exception', error, EXIT_EXCEPTION));
process.on('unhandledRejection', (reason, promise) =>
  crash('Unhandled Promise Rejection', new errors.UnhandledPromiseRejection(reason, promise), EXIT_REJECTION),
);
process.on('beforeExit', invocation.emptyLoop);

async function init({ env, handler, taskRoot, callbacks, caFile, trustedSuffixes }) {
  Object.assign(process.env, env);
  process.chdir(taskRoot);
  logging.install();
  if (caFile) {
    hideHeapFlags(true);
    trust.install(caFile, trustedSuffixes);
  }
  let loaded;
  layers.install();
  try {
    loaded = await handlers.load(taskRoot, handler, callbacks);
  } catch (error) {
    crash('Uncaught Exception', error, EXIT_EXCEPTION);
  }
  showHeapFlags();
  let model = callbacks ? invocation.withCallbacks : invocation.withPromises;
  if (handlers.isStreaming(loaded)) model = require('./stream.js').withStream;
  run = (meta, payload) => void model(loaded, meta, payload, callbacks);
  channel.send(T.READY, '{}');
}

async function warm(meta) {
  hideHeapFlags(true);
  await require('./warm.js').warm(meta);
  booted();
}

const booted = () => channel.send(T.BOOTED, JSON.stringify({ node: process.versions.node }));

channel.open((type, body) => {
  const [meta, payload] = channel.split(body);
  if (type === T.INIT) init(meta);
  else if (type === T.WARM) warm(meta);
  else if (type === T.TERMINATE) process.kill(process.pid, 'SIGTERM');
  else if (type === T.INVOKE && run !== null) run(meta, payload);
});
booted();
