'use strict';
// From a handler setting such as src/app.nested.handler to the function it
// names. https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html

const fs = require('fs');
const { createRequire } = require('module');
const path = require('path');
const { pathToFileURL } = require('url');
const errors = require('./errors.js');
const { HttpResponseStream } = require('./httpstream.js');

const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');
const CALLBACK_REMOVED =
  'ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. You need to modify this function to use a supported handler signature to use Node.js 24 or later. For more information see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.';

// User code sees the module that loads it in "Require stack" messages.
const userRequire = createRequire('/var/runtime/index.mjs');

function parse(setting) {
  if (setting.includes('..')) {
    throw new errors.MalformedHandlerName(
      `'${setting}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`,
    );
  }
  const base = path.basename(setting);
  const dot = base.indexOf('.');
  if (dot < 0) throw new errors.MalformedHandlerName('Bad handler');
  return {
    folder: setting.slice(0, setting.indexOf(base)),
    file: base.slice(0, dot),
    name: base.slice(dot + 1),
  };
}

// isModuleFolder says whether .js files of a folder are ES modules.
function isModuleFolder(folder) {
  for (let at = folder; ; at = path.dirname(at)) {
    if (at.endsWith('/node_modules')) return false;
    const file = path.join(at, 'package.json');
    let text;
    try {
      text = fs.readFileSync(file, 'utf8');
    } catch {
      if (at === path.dirname(at)) return false;
      continue;
    }
    try {
      return JSON.parse(text).type === 'module';
    } catch (e) {
      console.warn(`${file} cannot be read, it will be ignored for ES module detection purposes.`, e);
      return false;
    }
  }
}

async function loadModule(root, { folder, file }) {
  const base = path.resolve(root, folder, file);
  const isFile = (p) => fs.statSync(p, { throwIfNoEntry: false })?.isFile();
  if (isFile(base)) return userRequire(base);
  if (isFile(base + '.js')) {
    return isModuleFolder(path.dirname(base)) ? import(pathToFileURL(base + '.js')) : userRequire(base + '.js');
  }
  if (isFile(base + '.mjs')) return import(pathToFileURL(base + '.mjs'));
  if (isFile(base + '.cjs')) return userRequire(base + '.cjs');
  return userRequire(userRequire.resolve(file, { paths: [root, path.join(root, folder)] }));
}

const find = (object, name) =>
  name.split('.').reduce((at, key) => (at === undefined || at === null ? undefined : at[key]), object);

// load returns the handler function. Its errors are AWS's.
async function load(root, setting, callbacks) {
  const where = parse(setting);
  let module;
  try {
    module = await loadModule(root, where);
  } catch (e) {
    if (e instanceof SyntaxError) {
      const wrapped = new errors.UserCodeSyntaxError(e);
      wrapped.stack = e.stack;
      throw wrapped;
    }
    if (e && e.code === 'MODULE_NOT_FOUND') throw new errors.ImportModuleError(e);
    throw e;
  }
  let handler = find(module, where.name);
  if (!handler && module && module.default) handler = find(module.default, where.name);
  if (!handler) throw new errors.HandlerNotFound(`${setting} is undefined or not exported`);
  if (typeof handler !== 'function') throw new errors.HandlerNotFound(`${setting} is not a function`);
  if (!callbacks && !handler[STREAMING] && handler.length >= 3) throw new errors.CallbackHandlerDeprecated(CALLBACK_REMOVED);
  return handler;
}

module.exports = {
  load,
  isStreaming: (handler) => Boolean(handler[STREAMING]),
  // awslambda is the global through which a function marks a handler as
  // streaming.
  awslambda: {
    streamifyResponse(handler, options) {
      handler[STREAMING] = 'response';
      handler[HIGH_WATER_MARK] = options?.highWaterMark;
      return handler;
    },
    HttpResponseStream,
  },
};
