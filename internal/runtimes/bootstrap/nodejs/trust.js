'use strict';
// TLS to AWS's host names ends at Davy, whose certificate is signed by a
// local authority. Only connections to these names trust it, and only it: the
// built-in roots need not be parsed for them, which NODE_EXTRA_CA_CERTS would
// make every process pay for. A connection that brings its own authorities
// keeps them.
//
// Other programs that the function starts, which Davy has no part in, trust it
// beside the public authorities by the variables that OpenSSL, Node.js and the
// AWS SDKs read when they start. What the function sets itself stays.

const fs = require('fs');
const path = require('path');

const PRELOAD = path.join(__dirname, 'trustworker.js');
const DATA = 'davy.trust'; // for worker threads

// install makes this thread, worker threads and child processes trust the
// authority in caFile for names that end in one of the suffixes. It loads
// tls, which makes Node.js parse the built-in roots in another thread.
module.exports.install = function install(caFile, suffixes) {
  connections(caFile, suffixes);
  workers({ caFile, suffixes });
  children(caFile);
  require('module').syncBuiltinESMExports();
};

module.exports.given = () => require('worker_threads').getEnvironmentData(DATA);

// connections changes tls.connect: https, http2 and fetch connect through it.
function connections(caFile, suffixes) {
  const tls = require('tls');
  const connect = tls.connect;
  let ca;
  const isOurs = (name) =>
    typeof name === 'string' && suffixes.some((s) => name === s || name.endsWith('.' + s));

  tls.connect = function (...args) {
    const at = args.findIndex((a) => a !== null && typeof a === 'object');
    const options = at < 0 ? {} : args[at];
    const host = options.servername || options.host || (typeof args[1] === 'string' ? args[1] : undefined);
    if (isOurs(host) && !options.ca && !options.secureContext) {
      ca ??= fs.readFileSync(caFile);
      if (at < 0) args.splice(typeof args.at(-1) === 'function' ? -1 : args.length, 0, { ca });
      else args[at] = { ...options, ca };
    }
    return connect.apply(this, args);
  };
}

// workers makes each worker thread load a module of ours before its own.
function workers(data) {
  const threads = require('worker_threads');
  threads.setEnvironmentData(DATA, data); // theirs inherit it
  const Original = threads.Worker;

  threads.Worker = class Worker extends Original {
    constructor(file, options) {
      try {
        super(file, preloaded(options));
      } catch (error) {
        // An option of this process is none for a worker to be given, though it
        // may inherit it.
        if (error?.code !== 'ERR_WORKER_INVALID_EXEC_ARGV' || options?.execArgv !== undefined) throw error;
        super(file, options);
      }
    }
  };
}

// preloaded adds the module to a worker's options. Without execArgv a worker
// has those of its parent; V8's are the process's and cannot be given again.
function preloaded(options) {
  const { execArgv } = options ?? {};
  if (execArgv !== undefined && !Array.isArray(execArgv)) return options; // Node.js refuses it
  const flags = execArgv ?? process.execArgv.filter((flag) => !/^--max-(semi|old)-space-size=/.test(flag));
  return { ...options, execArgv: [...flags, '--require', PRELOAD] };
}

function children(caFile) {
  const bundle = path.join(path.dirname(caFile), 'ca-bundle.pem');
  process.env.NODE_EXTRA_CA_CERTS ??= caFile;
  process.env.SSL_CERT_FILE ??= bundle;
  process.env.AWS_CA_BUNDLE ??= bundle;
}
