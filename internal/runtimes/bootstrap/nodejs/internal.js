'use strict';
// What of Node.js's inside the bootstrap uses, because the public way costs
// every start milliseconds. Where it is missing, the public way is taken.

// internal returns one of Node.js's own bindings, or undefined.
function internal(name) {
  const before = Object.getOwnPropertyDescriptor(process, 'noDeprecation');
  process.noDeprecation = true; // the function's author cannot change it
  try {
    return process.binding(name);
  } catch {
    return undefined;
  } finally {
    if (before) Object.defineProperty(process, 'noDeprecation', before);
    else delete process.noDeprecation;
  }
}

const HEAP = /^--max-(semi|old)-space-size=/;
const flags = process.execArgv.filter((flag) => HEAP.test(flag));
let hidden = false;

const setter = (v8) => v8 && v8.setFlagsFromString;

// hideHeapFlags makes V8 take the code caches that are built into Node.js: it
// refuses them while a flag differs from when they were made, and compiles
// Node.js's own modules anew. The heap took its limits from the flags when it
// was made; it keeps them. orPublic: load the module v8 for it if need be.
function hideHeapFlags(orPublic) {
  if (hidden || flags.length === 0) return;
  const set = setter(internal('v8')) ?? (orPublic ? setter(require('v8')) : undefined);
  if (!set) return;
  for (const flag of flags) set(flag.slice(0, flag.indexOf('=')) + '=0');
  hidden = true;
}

// showHeapFlags puts them back: the heaps of worker threads take theirs too.
function showHeapFlags() {
  if (!hidden) return;
  const set = setter(internal('v8')) ?? setter(require('v8'));
  for (const flag of flags) set(flag);
  hidden = false;
}

module.exports = { internal, hideHeapFlags, showHeapFlags };
