// Time runs 3,000 times as fast for timers: an hour is 1.2 seconds.
'use strict';

const set = globalThis.setTimeout;
globalThis.setTimeout = (action, ms, ...values) => set(action, (ms || 0) / 3000, ...values);
globalThis.setTimeout.slow = set;
