'use strict';
// One event through a handler, in the two programming models of AWS's Node.js
// runtimes: with callbacks (up to nodejs22.x) and without (from nodejs24.x).

const { T, send, sendWith, hold, letGo } = require('./channel.js');
const errors = require('./errors.js');
const logging = require('./logging.js');

const MAX_RESPONSE = 6291556; // bytes; 6 MB and AWS's allowance for the envelope

let current = null; // { id, onEmptyLoop }

function begin(id, onEmptyLoop) {
  current = { id, onEmptyLoop };
  logging.setRequestId(id);
  letGo();
}

function end() {
  current = null;
  hold();
}

function stringify(result) {
  try {
    return JSON.stringify(result === undefined ? null : result) ?? 'null';
  } catch {
    return undefined;
  }
}

function respond(id, text) {
  const size = Buffer.byteLength(text);
  end();
  if (size > MAX_RESPONSE) {
    send(T.LOG, `[ERROR] [${Date.now()}] ${errors.REFUSED}\n`);
    send(T.TOO_LARGE, JSON.stringify({ id, size }));
  } else sendWith(T.RESPONSE, { id }, text);
}

function fail(id, error) {
  logging.failure('Invoke Error', error);
  end();
  sendWith(T.ERROR, { id }, JSON.stringify(errors.response(error)));
}

// What of the context is the function's, not the invocation's. A variable is
// looked up in the process's environment whenever it is read: these five took
// as long as the parsing of a small event.
let ofFunction = null;

function readFunction(env) {
  return {
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
  };
}

function baseContext(meta) {
  const env = process.env;
  if (meta.trace) env._X_AMZN_TRACE_ID = meta.trace;
  else delete env._X_AMZN_TRACE_ID;
  ofFunction ??= readFunction(env);
  return {
    ...ofFunction,
    clientContext: meta.clientContext ? JSON.parse(meta.clientContext) : undefined,
    identity: undefined,
    invokedFunctionArn: meta.arn,
    awsRequestId: meta.id,
    getRemainingTimeInMillis: () => meta.deadline - Date.now(),
  };
}

// withCallbacks answers when the callback is called, the promise settles or
// nothing is left to run, whichever comes first.
function withCallbacks(handler, meta, payload) {
  const id = meta.id;
  const isAsync = handler.constructor && handler.constructor.name === 'AsyncFunction';
  let finished = false;
  let waitForEmptyLoop = true;

  const complete = (result) => {
    const text = stringify(result);
    if (text === undefined) throw new Error('Unable to stringify response body');
    respond(id, text);
  };
  const once = (f) => (...args) => {
    if (finished) return;
    f(...args);
    finished = true;
  };
  const done = (error, result) => {
    if (error !== undefined && error !== null) fail(id, error);
    else complete(result);
  };
  const callback = once((error, result) => {
    if (error !== undefined && error !== null) return fail(id, error);
    if (!waitForEmptyLoop) return complete(result);
    current.onEmptyLoop = () => complete(result);
  });
  const context = {
    get callbackWaitsForEmptyEventLoop() {
      return waitForEmptyLoop;
    },
    set callbackWaitsForEmptyEventLoop(value) {
      waitForEmptyLoop = value;
    },
    done: once(done),
    succeed: once((result) => done(null, result)),
    fail: once((error) => done(error ?? 'handled')),
  };
  // One answer: through whichever of the four comes first.
  begin(id, () => {
    finished = true;
    if (isAsync) fail(id, new errors.NodeJsExit());
    else respond(id, 'null');
  });
  try {
    Object.assign(context, baseContext(meta));
    const result = handler(JSON.parse(payload.toString()), context, callback);
    if (result && typeof result.then === 'function') {
      result.then(context.succeed, context.fail).catch(context.fail);
    }
  } catch (error) {
    callback(error);
  }
}

async function withPromises(handler, meta, payload) {
  const id = meta.id;
  let finished = false;
  const once = (f) => {
    if (finished) return;
    finished = true;
    f();
  };
  begin(id, () => once(() => fail(id, new errors.NodeJsExit())));
  try {
    const context = Object.assign(baseContext(meta), { tenantId: undefined, xRayTraceId: meta.trace });
    const result = await handler(JSON.parse(payload.toString()), context);
    const text = stringify(result);
    if (text === undefined) throw new errors.JSONStringifyError('Unable to stringify response body');
    once(() => respond(id, text));
  } catch (error) {
    once(() => fail(id, error));
  }
}

module.exports = {
  baseContext,
  begin,
  fail,
  respond,
  withCallbacks,
  withPromises,
  // emptyLoop is called when the event loop has nothing left to do.
  emptyLoop() {
    if (current) current.onEmptyLoop();
  },
  // crash reports the error that ends this process, if a caller is waiting.
  crash(error) {
    if (!current) return false;
    sendWith(T.ERROR, { id: current.id, fatal: true }, JSON.stringify(errors.response(error)));
    current = null;
    return true;
  },
};
