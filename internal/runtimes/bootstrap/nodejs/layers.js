'use strict';
// In AWS's runtimes import finds packages in the folders of NODE_PATH, as
// require does everywhere. Here the search for them finds those of layers by
// itself; what it misses is folders that the function names in NODE_PATH.

const fs = require('fs');
const loader = require('module');
const path = require('path');
const { pathToFileURL } = require('url');

const SUFFIX = '/node_modules';

const missed = () =>
  (process.env.NODE_PATH || '')
    .split(':')
    .filter((f) => f.endsWith(SUFFIX) && !/^\/(var\/runtime|opt\/nodejs)\//.test(f) && fs.existsSync(f));

// install makes import search where it would miss a package. Node.js can be
// told so from 22.15 on.
module.exports.install = function install() {
  const folders = missed().map((f) => pathToFileURL(path.dirname(f)).href + '/');
  if (folders.length === 0 || !loader.registerHooks) return;
  loader.registerHooks({
    resolve(specifier, context, next) {
      try {
        return next(specifier, context);
      } catch (error) {
        if (error?.code !== 'ERR_MODULE_NOT_FOUND' || /^(\.|\/|[a-z]+:)/.test(specifier)) throw error;
        for (const parentURL of folders) {
          try {
            return next(specifier, { ...context, parentURL });
          } catch {
            // Not there either.
          }
        }
        throw error;
      }
    },
  });
};
