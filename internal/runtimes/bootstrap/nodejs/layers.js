'use strict';
// In AWS's runtimes import finds packages in the folders of NODE_PATH, as
// require does everywhere. Here the search for them finds one folder of the
// layers by itself; what it misses is a second one, and folders that the
// function names in NODE_PATH.
// https://docs.aws.amazon.com/lambda/latest/dg/packaging-layers.html

const fs = require('fs');
const loader = require('module');
const path = require('path');
const { pathToFileURL } = require('url');

const SUFFIX = '/node_modules';

function missed() {
  const all = (process.env.NODE_PATH || '').split(':').filter((f) => f.endsWith(SUFFIX) && !f.startsWith('/var/runtime/') && fs.existsSync(f));
  const layers = all.filter((f) => f.startsWith('/opt/nodejs/'));
  return layers.length === all.length && layers.length < 2 ? [] : all;
}

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
