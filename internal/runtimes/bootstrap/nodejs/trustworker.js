'use strict';
// The first that a worker thread runs: it trusts as its parent does.

const trust = require('./trust.js');

const at = process.execArgv.lastIndexOf('--require'); // ours, which the function does not see
if (at >= 0 && process.execArgv[at + 1] === __filename) process.execArgv.splice(at, 2);

const given = trust.given();
if (given) trust.install(given.caFile, given.suffixes);
