'use strict';
// TLS to AWS's host names ends at Davy, whose certificate is signed by a
// local authority. Only connections to these names trust it, and only it: the
// built-in roots need not be parsed for them, which NODE_EXTRA_CA_CERTS would
// make every process pay for. A connection that brings its own authorities
// keeps them.

const fs = require('fs');

// install makes tls.connect trust the authority in caFile for names that end
// in one of the suffixes. https, http2 and fetch connect through it. It loads
// tls, which makes Node.js parse the built-in roots in another thread.
module.exports.install = function install(caFile, suffixes) {
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
  require('module').syncBuiltinESMExports();
};
