'use strict';
// Errors in the shapes that AWS's Node.js runtime gives them: to the caller
// and in the log. https://docs.aws.amazon.com/lambda/latest/dg/nodejs-exceptions.html

const { types } = require('util');

// named makes a class of errors with AWS's name. Its own is the last part.
function named(name) {
  const type = class extends Error {
    get name() {
      return name;
    }
  };
  return Object.defineProperty(type, 'name', { value: name.slice(name.indexOf('.') + 1) });
}

class UnhandledPromiseRejection extends named('Runtime.UnhandledPromiseRejection') {
  constructor(reason, promise) {
    super(reason);
    this.reason = reason;
    this.promise = promise;
  }
}

class NodeJsExit extends named('Runtime.NodeJsExit') {
  constructor() {
    super(
      'The Lambda runtime client detected an unexpected Node.js exit code. This is most commonly caused by a Promise that was never settled. For more information, see https://nodejs.org/docs/latest/api/process.html#exit-codes',
    );
  }
}

const looksLikeError = (v) =>
  types.isNativeError(v) ||
  (v && ['name', 'message', 'stack'].every((k) => typeof v[k] === 'string' && v[k] !== ''));

// response is the body that the caller of the function receives.
function response(error) {
  try {
    if (looksLikeError(error)) {
      return { errorType: error.name, errorMessage: error.message, trace: error.stack.split('\n') };
    }
    return { errorType: typeof error, errorMessage: error.toString(), trace: [] };
  } catch {
    return {
      errorType: 'handled',
      errorMessage:
        'callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack',
    };
  }
}

function visible(_key, value) {
  if (!(value instanceof Error)) return value;
  const fields = { errorType: value.name, errorMessage: value.message, code: value.code, ...value };
  if (typeof value.stack === 'string') fields.stack = value.stack.split('\n');
  return fields;
}

const asError = (v) => (v instanceof Error ? v : new Error(v));

// logged is the error as it appears in a log in text, after a tab.
function logged(error) {
  const e = asError(error);
  try {
    return '\t' + JSON.stringify(e, visible);
  } catch {
    return '\t' + JSON.stringify(response(e));
  }
}

module.exports = {
  // In the log, when Lambda takes no response of that size.
  REFUSED: 'LAMBDA_RUNTIME Failed to post handler success response. Http response code: 413.',
  CallbackHandlerDeprecated: named('Runtime.CallbackHandlerDeprecated'),
  HandlerNotFound: named('Runtime.HandlerNotFound'),
  ImportModuleError: named('Runtime.ImportModuleError'),
  InvalidStreamingOperation: named('Runtime.InvalidStreamingOperation'),
  JSONStringifyError: named('Runtime.JSONStringifyError'),
  MalformedHandlerName: named('Runtime.MalformedHandlerName'),
  MalformedStreamingHandler: named('Runtime.MalformedStreamingHandler'),
  NodeJsExit,
  UnhandledPromiseRejection,
  UserCodeSyntaxError: named('Runtime.UserCodeSyntaxError'),
  asError,
  logged,
  response,
};
