// Time runs 3,000 times as fast for timers: an hour is 1.2 seconds.
'use strict';

const set = globalThis.setTimeout;
const pauses = [];
globalThis.setTimeout = (action, ms, ...values) => {
  if (new Error('who asks').stack.split('\n')[2].includes('tallyspan-preload')) pauses.push(ms);
  return set(action, (ms || 0) / 3000, ...values);
};
Object.assign(globalThis.setTimeout, { slow: set, pauses });
