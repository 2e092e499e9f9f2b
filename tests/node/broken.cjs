// What an application does to the preload, and the preload must bear: node --require PRELOAD broken.cjs CASE ...
'use strict';

const channels = require('node:diagnostics_channel');
const fs = require('node:fs');
const http = require('node:http');
const zlib = require('node:zlib');
const { join } = require('node:path');
const { counters, keptBytes } = require(join(__dirname, '../../instrumentation/node/tallyspan-preload.cjs'));

const slow = setTimeout.slow || setTimeout; // fast.cjs may be there
const pause = (ms) => new Promise((done) => slow(done, ms));
const image = (port, model) => fetch(`http://127.0.0.1:${port}/v1/images/generations`,
  { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ model }) }).then((answer) => answer.text());

/** Tell the channels of a call that never was. */
function pretend(body, path = '/v1/images/generations', chunks = [Buffer.from('{"data":[{}]}')], headers = ['content-type', 'application/json'], { method = 'POST', origin = 'http://127.0.0.1:1', error, isUnsent } = {}) {
  const request = { method, origin, path, body: JSON.stringify(body) };
  const publish = (name, message) => channels.channel(`undici:request:${name}`).publish({ request, ...message });
  publish('create', {});
  if (!isUnsent) channels.channel('undici:client:sendHeaders').publish({ request });
  publish('headers', { response: { statusCode: 200, headers } });
  for (const chunk of chunks) publish('bodyChunkReceived', { chunk });
  publish(error ? 'error' : 'trailers', error ? { error: Object.assign(new Error(error), { name: error }) } : { trailers: [] });
}

const lines = (events) => Buffer.from(events.map((event) => `event: x\ndata: ${JSON.stringify(event)}\n\n`).join(''));
const MESSAGE = lines([
  { type: 'message_start', message: { id: 'msg_1', type: 'message', model: 'claude', content: [], usage: { input_tokens: 3, cache_read_input_tokens: 4, output_tokens: 1 } } },
  { type: 'content_block_delta', delta: { type: 'text_delta', text: 'Grüße, 世界 "usage":{"output_tokens":999}' } },
  { type: 'message_delta', delta: {}, usage: { output_tokens: 25 } },
]);
const TRANSCRIPT = Buffer.from(JSON.stringify({ text: 'x "usage":{"seconds":999}', usage: { type: 'duration', seconds: 7 } }));
/** Path, answer, headers: read the same wherever the network cuts them. */
const ANSWERS = [
  ['/v1/messages', MESSAGE, ['content-type', 'text/event-stream']],
  ['/v1/messages', zlib.gzipSync(MESSAGE), ['Content-Type', 'text/event-stream', 'Content-Encoding', 'gzip']],
  ['/v1/audio/transcriptions', TRANSCRIPT, ['content-type', 'application/json']],
  ['/openai/deployments/whisper/audio/transcriptions', zlib.brotliCompressSync(TRANSCRIPT), ['content-type', 'application/json', 'content-encoding', 'br']],
];

const cases = {
  async off() {
    console.log(channels.hasSubscribers('undici:request:create'));
  },
  /** Calls while the collector is away, until all that waited is with it. */
  async outage(port, calls, ms) {
    for (let number = 0; number < calls; number += 1) {
      await image(port, `dall-e-${number}`);
      await pause(ms / calls);
    }
    while (counters.sent + counters.dropped < counters.spans) await pause(20);
    console.log(JSON.stringify({ ...counters, pauses: setTimeout.pauses }));
  },
  /** More calls than may wait; then nothing is left to do, and the process must end. */
  async flood(calls) {
    for (let number = 0; number < calls; number += 1) {
      pretend({ model: `dall-e-${number}` });
      if (number % 500 === 0) await new Promise(setImmediate);
    }
    await pause(100);
    console.log(JSON.stringify({ ...counters, kept: keptBytes() }));
  },
  /** Requests and answers from stdin, one after another. */
  async shapes() {
    for (const { url, request, type, answer, method, error, isUnsent } of JSON.parse(fs.readFileSync(0, 'utf8'))) {
      const { origin, pathname } = new URL(url);
      pretend(request, pathname, [Buffer.from(answer)], ['content-type', type], { method, origin, error, isUnsent });
      await new Promise(setImmediate);
    }
    await pause(20);
    while (counters.sent < counters.spans) await pause(20);
  },
  /** Streams over node:http that end before their end: by the provider, by the application in two ways. */
  async lost() {
    const provider = http.createServer((request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream', connection: request.url.startsWith('/whole') ? 'close' : 'keep-alive' });
      response.write('data: {"choices":[{"delta":{"content":"12345678"}}]}\n\n');
      if (request.url.startsWith('/cut')) setTimeout(() => response.destroy(), 50);
      if (request.url.startsWith('/whole')) response.end();
    });
    await new Promise((done) => provider.listen(0, '127.0.0.1', done));
    const { port } = provider.address();
    await Promise.all(['cut', 'request', 'response', 'whole'].map((way) => new Promise((done) => {
      const request = http.request({ port, method: 'POST', path: `/${way}/chat/completions` }, (response) => {
        response.on('error', () => {}).on('data', () => {
          if (way === 'request') request.destroy();
          if (way === 'response') response.destroy();
        });
      });
      request.on('error', () => {}).on('close', done).end(JSON.stringify({ model: way, stream: true, messages: [] }));
    })));
    await pause(20);
    while (counters.sent < counters.spans) await pause(20);
    process.exit(0);
  },
  /** Each answer, cut once at each of its places. */
  async cuts() {
    for (const [path, answer, headers] of ANSWERS) {
      for (let at = 0; at <= answer.length; at += 1) {
        pretend({}, path, [answer.subarray(0, at), answer.subarray(at)], headers);
      }
      await pause(20);
    }
    while (counters.sent < counters.spans) await pause(20);
    console.log(JSON.stringify(ANSWERS.map(([, answer]) => answer.length + 1)));
  },
  /** Messages of a Node that nobody knows. */
  async nonsense(port) {
    for (const name of ['create', 'headers', 'bodyChunkReceived', 'trailers', 'error']) {
      for (const message of [null, {}, { request: null }, { request: { method: 'POST', origin: 7 } }]) channels.channel(`undici:request:${name}`).publish(message);
    }
    await image(port, 'dall-e-3');
    for (let number = 0; number < 1100; number += 1) channels.channel('undici:request:create').publish(null);
    console.log(JSON.stringify({ ...counters, isWatching: channels.hasSubscribers('undici:request:create') }));
  },
  /** An answer of very many bytes, which is packed, cut or neither. */
  async large() {
    const piece = Buffer.alloc(1 << 20, 'x');
    let most = 0;
    const provider = http.createServer(async (request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write('{"data":[{"b64_json":"');
      for (let number = 0; number < 40; number += 1) if (!response.write(piece)) await new Promise((done) => response.once('drain', done));
      response.end('"}],"usage":{"input_tokens":5,"output_tokens":6}}');
    });
    await new Promise((done) => provider.listen(0, '127.0.0.1', done));
    const { port } = provider.address();
    const watch = setInterval(() => { most = Math.max(most, keptBytes()); }, 5);
    await Promise.all([1, 2, 3].map((number) => image(port, `gpt-image-${number}`)));
    await pause(50);
    clearInterval(watch);
    provider.close();
    while (counters.sent + counters.dropped < counters.spans) await pause(20);
    console.log(JSON.stringify({ ...counters, most, kept: keptBytes() }));
  },
  /** The end of the process right after a call. */
  async leave(port) {
    await image(port, 'dall-e-3');
    await pause(20);
    process.exit(0);
  },
  /** The end of all work while what was counted is on its way to a collector that never answers. */
  async linger(port) {
    await image(port, 'dall-e-3');
    await pause(400);
  },
  async wait(ms) {
    await pause(Number(ms));
  },
};

const [name, ...values] = process.argv.slice(2);
cases[name](...values.map(Number));
