// Counts the model calls of a Node process for Tallyspan: NODE_OPTIONS="--require /path/tallyspan-preload.cjs".
//
// It listens to Node's own diagnostics channels; no module is patched. Of a request and its answer
// the two ends are kept while they pass, read after the answer is over, and forgotten. What leaves
// the process is OTLP spans with names, numbers and ids, never a text of a prompt or an answer.
// Nothing here may throw into the application, wait for it, or keep it alive. docs/node.md is the
// manual, tests/node/ runs it.
'use strict';

const { AsyncLocalStorage } = require('node:async_hooks');
const { createHash, randomBytes } = require('node:crypto');
const channels = require('node:diagnostics_channel');
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const zlib = require('node:zlib');

const MIN_NODE = [22, 12]; // since then there is a channel for a request of node:http that begins
const MAX_END_BYTES = 256 * 1024; // kept of a body at its beginning, and as much at its end
const MAX_REQUEST_BYTES = 4 * 1024 * 1024; // of a request, whose texts may have to be counted
const MAX_KEPT_BYTES = 32 * 1024 * 1024; // of all bodies at one time
const MAX_UNPACKED_BYTES = 64 * 1024 * 1024; // of a packed body, all in all
const MAX_QUEUE_BYTES = 16 * 1024 * 1024; // spans that wait: about 16,000 calls, more than an hour
const MAX_BATCH_BYTES = 1024 * 1024;
const MAX_ORIGINS = 1000;
const MAX_RUN_MS = 60 * 60 * 1000; // a run began at most so long before it was asked for
const MAX_RUNS = 4096; // runs of assistants whose usage was sent
const MAX_TEXT = 256; // characters of a name or an id
const MAX_FAILURES = 1000; // of our own; then nothing is watched any more
const FIRST_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 60 * 1000;
const SEND_TIMEOUT_MS = 10 * 1000;
const GROUPS = [
  'images', 'speech', 'assistants', 'ocr', 'search', 'rerank', 'embeddings', 'chat', 'aborts',
];

// ---------------------------------------------------------------- what it says, and of itself

const counters = { spans: 0, sent: 0, dropped: 0, unread: 0, failures: 0 };
const told = new Set();

/** Write a line to stderr, once for each kind of trouble. */
function tellOnce(kind, text) {
  if (told.has(kind)) return;
  told.add(kind);
  try {
    process.stderr.write(`tallyspan-preload: ${text}\n`);
  } catch {
    // nobody reads it
  }
}

/** Return the function with failures counted and kept from the application. */
function guarded(what, action) {
  return function run(...values) {
    try {
      return action.apply(this, values);
    } catch (error) {
      counters.failures += 1;
      tellOnce(`failure ${what}`, `could not ${what}: ${error}; the application is not affected`);
      if (counters.failures > MAX_FAILURES) stop();
      return undefined;
    }
  };
}

// ---------------------------------------------------------------- settings

/** Return the settings of an environment; null: nothing is wanted, or nothing can be done. */
function settingsOf(env) {
  const names = (env.TALLYSPAN_PRELOAD || '').split(',').map((name) => name.trim()).filter(Boolean);
  if (!names.length) return null;
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < MIN_NODE[0] || (major === MIN_NODE[0] && minor < MIN_NODE[1])) {
    tellOnce('node', `needs Node ${MIN_NODE.join('.')} or later, this is ${process.version}: nothing is counted`);
    return null;
  }
  const unknown = names.filter((name) => name !== 'all' && !GROUPS.includes(name));
  if (unknown.length) {
    tellOnce('groups', `TALLYSPAN_PRELOAD: there is no ${unknown.map((name) => `'${name}'`).join(', ')}`
      + `; there are ${GROUPS.join(', ')} and all`);
  }
  const groups = new Set(names.includes('all') ? GROUPS : names.filter((name) => GROUPS.includes(name)));
  if (!groups.size) return null;
  let url;
  try {
    url = new URL(env.TALLYSPAN_PRELOAD_URL || '');
    if (!/^https?:$/.test(url.protocol)) throw new TypeError('no http address');
  } catch {
    tellOnce('url', 'TALLYSPAN_PRELOAD_URL must be the address of the collector, as'
      + ' http://tallyspan:4318: nothing is counted');
    return null;
  }
  const isBesideLangfuse = isOfLangfuse(env, url);
  if (isBesideLangfuse && (groups.has('chat') || groups.has('embeddings'))) {
    groups.delete('chat');
    groups.delete('embeddings');
    tellOnce('langfuse', 'LANGFUSE_BASE_URL is the same collector: chat and embeddings are left to those spans, else they'
      + ' would be counted twice');
  }
  return {
    groups,
    isBesideLangfuse,
    url: new URL(`${url.pathname.replace(/\/+$/, '')}/v1/traces`, url),
    key: env.TALLYSPAN_PRELOAD_KEY || '',
    userHeader: (env.TALLYSPAN_PRELOAD_USER_HEADER || '').toLowerCase(),
    userClaims: (env.TALLYSPAN_PRELOAD_USER_CLAIM || 'id').split(',').map((name) => name.trim()),
    file: env.TALLYSPAN_PRELOAD_FILE || '',
    service: env.OTEL_SERVICE_NAME || 'node',
  };
}

/** Whether Langfuse's spans of this process go to the same collector, as LibreChat's do. */
function isOfLangfuse(env, url) {
  const base = env.LANGFUSE_BASE_URL || env.LANGFUSE_HOST || env.LANGFUSE_BASEURL || '';
  return Boolean(env.LANGFUSE_PUBLIC_KEY && env.LANGFUSE_SECRET_KEY) && URL.canParse(base) && new URL(base).host === url.host;
}

// ---------------------------------------------------------------- bodies

let keptBytes = 0;

/** The two ends of a body, bounded; what is packed is unpacked on the way, from a copy. */
class Body {
  constructor(encoding = '', limit = MAX_END_BYTES) {
    this.limit = limit;
    this.head = [];
    this.headBytes = 0;
    this.tail = [];
    this.tailBytes = 0;
    this.bytes = 0; // unpacked
    this.isUnread = false;
    this.unpacking = null;
    if (encoding && encoding !== 'identity') this._unpack(encoding);
  }

  _unpack(encoding) {
    const options = { finishFlush: zlib.constants.Z_SYNC_FLUSH };
    const unpackers = {
      gzip: () => zlib.createGunzip(options),
      'x-gzip': () => zlib.createGunzip(options),
      deflate: () => zlib.createInflate(options),
      br: () => zlib.createBrotliDecompress({ finishFlush: zlib.constants.BROTLI_OPERATION_FLUSH }),
      zstd: () => zlib.createZstdDecompress({ finishFlush: zlib.constants.ZSTD_e_flush }),
    };
    try {
      this.unpacking = unpackers[encoding]();
    } catch {
      this.isUnread = true; // a coding that this Node has not, or several
      return;
    }
    this.unpacking.on('data', (chunk) => {
      this._keep(chunk);
      if (this.bytes > MAX_UNPACKED_BYTES) this._giveUp();
    });
    this.unpacking.on('error', () => this._giveUp());
  }

  _giveUp() {
    this.isUnread = true;
    this.unpacking.destroy();
  }

  /** Take the next bytes, of which a copy is kept. */
  add(chunk) {
    if (this.isUnread) return;
    const bytes = Buffer.from(chunk);
    if (!this.unpacking) {
      this._keep(bytes);
    } else if (this.unpacking.writableLength > MAX_REQUEST_BYTES) {
      this._giveUp(); // the application reads faster than this unpacks
    } else {
      this.unpacking.write(bytes);
    }
  }

  _keep(bytes) {
    this.bytes += bytes.length;
    const room = keptBytes < MAX_KEPT_BYTES ? this.limit : MAX_TEXT;
    if (this.headBytes < room) {
      const part = bytes.subarray(0, room - this.headBytes);
      this.head.push(part);
      this.headBytes += part.length;
      keptBytes += part.length;
      bytes = bytes.subarray(part.length);
    }
    if (!bytes.length) return;
    this.tail.push(bytes);
    this.tailBytes += bytes.length;
    keptBytes += bytes.length;
    while (this.tail.length > 1 && this.tailBytes - this.tail[0].length >= room) {
      const gone = this.tail.shift();
      this.tailBytes -= gone.length;
      keptBytes -= gone.length;
    }
  }

  /** Call back once all that was added is unpacked. */
  finish(done) {
    if (!this.unpacking || this.isUnread) {
      done();
      return;
    }
    let isDone = false;
    const once = () => {
      if (!isDone) done();
      isDone = true;
    };
    this.unpacking.once('close', once);
    this.unpacking.once('end', once);
    this.unpacking.end();
  }

  get isWhole() {
    return !this.isUnread && this.bytes === this.headBytes + this.tailBytes;
  }

  /** The text of both ends, with a line end between them where something is missing. */
  text() {
    const head = Buffer.concat(this.head).toString('utf8');
    const tail = Buffer.concat(this.tail).toString('utf8');
    return this.isWhole ? Buffer.concat([...this.head, ...this.tail]).toString('utf8') : `${head}\n${tail}`;
  }

  forget() {
    keptBytes -= this.headBytes + this.tailBytes;
    this.head = [];
    this.tail = [];
    this.headBytes = 0;
    this.tailBytes = 0;
  }
}

// ---------------------------------------------------------------- reading

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const object = (value) => (isObject(value) ? value : {});
const list = (value) => (Array.isArray(value) ? value : []);
const short = (value) => (typeof value === 'string' ? value.slice(0, MAX_TEXT) : '');
const count = (value) => (Number.isSafeInteger(value) && value >= 0 ? value : undefined);
const sum = (...values) => values.reduce((total, value) => (value === undefined ? total : (total || 0) + value), undefined);

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Return the objects after `"key":` in a text of JSON of which something is missing. */
function objectsAt(text, key) {
  const objects = [];
  const start = new RegExp(`"${key}"\\s*:\\s*\\{`, 'g');
  for (let match = start.exec(text); match; match = start.exec(text)) {
    const first = match.index + match[0].length - 1;
    let depth = 0;
    // usage has no text with a brace in it
    for (let at = first; at < text.length && at - first < 16384; at += 1) {
      if (text[at] === '{') depth += 1;
      if (text[at] === '}') depth -= 1;
      if (!depth) {
        const found = parsed(text.slice(first, at + 1));
        if (isObject(found)) objects.push(found);
        break;
      }
    }
  }
  return objects;
}

/** Return the whole answer, or the events of a stream; of one that is too long what its ends have. */
function eventsOf(body, isStream) {
  const text = body.text();
  if (isStream) {
    const events = text.split(/\r?\n/).filter((line) => line.startsWith('data:'))
      .map((line) => parsed(line.slice(5))).filter(isObject);
    if (events.some(usageOf) || body.isWhole) return events;
    return [...events, ...remains(text)];
  }
  const whole = body.isWhole ? parsed(text) : undefined;
  if (Array.isArray(whole)) return whole.filter(isObject); // Gemini's streams without SSE
  return isObject(whole) ? [whole] : remains(text);
}

function remains(text) {
  const number = (key) => {
    const match = new RegExp(`"${key}"\\s*:\\s*([0-9.]+)`).exec(text);
    return match ? Number(match[1]) : undefined;
  };
  const found = { duration: number('duration') };
  for (const key of ['usage', 'usage_info', 'usageMetadata', 'meta']) {
    const last = objectsAt(text, key).pop();
    if (last) found[key] = last;
  }
  const model = /"model"\s*:\s*"([^"\\]{1,256})"/.exec(text);
  if (model) [, found.model] = model;
  return [found];
}

const partOf = (event) => object(event.response || event.message || event);
const usageOf = (event) => {
  const usage = event.usage || partOf(event).usage || object(event.delta).usage;
  return isObject(usage) ? usage : undefined;
};

/** Whether an event says why the answer ended: the usage with it, or after it, is all of it. */
const isEnd = (event) => Boolean(
  list(event.choices).some((choice) => choice.finish_reason) || object(event.delta).stop_reason || event.stop_reason
  || list(event.candidates).some((candidate) => candidate.finishReason)
  || /^response\.(?:completed|incomplete)$/.test(event.type));

/** Add the provider's own counts under the names that the collector knows them by. */
function addUsage(attributes, usage, path = 'gen_ai.usage') {
  for (const [key, value] of Object.entries(usage)) {
    const name = key.replace(/^(prompt|input)_token_details$/, '$1_tokens_details'); // runs, transcripts
    if (isObject(value)) addUsage(attributes, value, `${path}.${name}`);
    else if (typeof value === 'number' && Number.isFinite(value)) attributes[`${path}.${name}`] = value;
    else if (typeof value === 'string' && /^[\w.:-]{1,32}$/.test(value) && name !== 'type') attributes[`${path}.${name}`] = value;
  }
}

function put(attributes, values) {
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== '') attributes[name] = value;
  }
}

/** Take what answers in OpenAI's shapes say: chat, Responses, images, sound, runs, Mistral, Jina. */
function readOpenAI(exchange, events, attributes) {
  let usage;
  for (const event of events) {
    const part = partOf(event);
    usage = usageOf(event) || usage;
    put(attributes, {
      'gen_ai.response.id': short(part.id), 'gen_ai.response.model': short(part.model),
      'tallyspan.service_tier': short(part.service_tier),
    });
  }
  if (!usage) return false;
  addUsage(attributes, usage);
  if (usage.prompt_tokens === undefined && usage.input_tokens === undefined && usage.total_tokens !== undefined) {
    attributes['gen_ai.usage.input_tokens'] = count(usage.total_tokens);
  }
  delete attributes['gen_ai.usage.total_tokens'];
  if (usage.seconds !== undefined) {
    delete attributes['gen_ai.usage.seconds'];
    attributes['tallyspan.meter.seconds'] = usage.seconds;
  }
  return true;
}

function readImages(exchange, events, attributes) {
  if (readOpenAI(exchange, events, attributes)) {
    const output = attributes['gen_ai.usage.output_tokens'];
    const details = 'gen_ai.usage.output_tokens_details.image_tokens';
    if (output !== undefined && attributes[details] === undefined) attributes[details] = output;
    return true;
  }
  const { n, size, quality } = exchange.params;
  const pictures = events.map((event) => list(event.data).length || list(event.images).length);
  attributes['tallyspan.meter.images'] = Math.max(...pictures, 0) || count(Number(n)) || 1;
  put(attributes, { 'tallyspan.condition.picture': [short(size), short(quality)].filter(Boolean).join(' ') });
  return true;
}

/** A request that makes one picture: the answer says where it will be. */
function readPicture(exchange, events, attributes) {
  put(attributes, { 'gen_ai.response.id': short(object(events[0]).id) });
  attributes['tallyspan.meter.images'] = 1;
  return true;
}

function readSpeech(exchange, events, attributes) {
  if (readOpenAI(exchange, events, attributes)) return true;
  const text = exchange.params.input ?? exchange.params.text;
  if (typeof text !== 'string') return false;
  attributes['tallyspan.meter.characters'] = charactersOf(text).all;
  return true;
}

function readTranscript(exchange, events, attributes) {
  if (readOpenAI(exchange, events, attributes)) return true;
  const { duration } = object(events[0]);
  const seconds = Number(duration); // OpenAI has had it as a text
  if (duration === undefined || !Number.isFinite(seconds)) return false;
  attributes['tallyspan.meter.seconds'] = seconds;
  return true;
}

function readPages(exchange, events, attributes) {
  const answer = object(events[0]);
  const pages = count(object(answer.usage_info).pages_processed);
  put(attributes, { 'gen_ai.response.model': short(answer.model) });
  if (pages === undefined) return false;
  attributes['tallyspan.meter.pages'] = pages;
  const isAnnotated = answer.document_annotation || exchange.params.bbox_annotation_format
    || exchange.params.document_annotation_format;
  if (isAnnotated) attributes['tallyspan.meter.annotated_pages'] = pages;
  return true;
}

function readSearch(exchange, events, attributes) {
  attributes['tallyspan.meter.web_search'] = 1;
  return true;
}

function readRanks(exchange, events, attributes) {
  const billed = object(object(object(events[0]).meta).billed_units);
  if (!Object.keys(billed).length) return readOpenAI(exchange, events, attributes);
  put(attributes, {
    'gen_ai.response.id': short(object(events[0]).id),
    'tallyspan.meter.search_units': count(billed.search_units),
    'gen_ai.usage.input_tokens': count(billed.input_tokens),
    'gen_ai.usage.output_tokens': count(billed.output_tokens),
  });
  return true;
}

/** The input includes the cache, as everywhere in the ledger; Anthropic's own leaves it out. */
function readAnthropic(exchange, events, attributes) {
  const usage = {};
  for (const event of events) {
    const part = partOf(event);
    if (part.type === 'message') {
      put(attributes, { 'gen_ai.response.id': short(part.id), 'gen_ai.response.model': short(part.model) });
    }
    for (const [key, value] of Object.entries(usageOf(event) || {})) if (value !== null) usage[key] = value;
  }
  const input = count(usage.input_tokens);
  if (input === undefined) return false;
  addUsage(attributes, usage);
  attributes['gen_ai.usage.input_tokens'] = sum(
    input, count(usage.cache_read_input_tokens), count(usage.cache_creation_input_tokens));
  put(attributes, { 'tallyspan.service_tier': short(usage.service_tier) });
  delete attributes['gen_ai.usage.service_tier'];
  return true;
}

function readGemini(exchange, events, attributes) {
  let usage;
  for (const event of events) {
    usage = event.usageMetadata || usage;
    put(attributes, {
      'gen_ai.response.id': short(event.responseId), 'gen_ai.response.model': short(event.modelVersion),
    });
  }
  if (!isObject(usage)) return readPredictions(exchange, events, attributes);
  const of = (key, modality) => sum(...list(usage[key])
    .filter((part) => part.modality === modality).map((part) => count(part.tokenCount)));
  put(attributes, {
    'gen_ai.usage.input_tokens': sum(count(usage.promptTokenCount), count(usage.toolUsePromptTokenCount)),
    'gen_ai.usage.output_tokens': sum(count(usage.candidatesTokenCount), count(usage.thoughtsTokenCount)),
    'gen_ai.usage.cache_read.input_tokens': count(usage.cachedContentTokenCount),
    'gen_ai.usage.reasoning.output_tokens': count(usage.thoughtsTokenCount),
    'gen_ai.usage.image.input_tokens': of('promptTokensDetails', 'IMAGE'),
    'gen_ai.usage.audio.input_tokens': of('promptTokensDetails', 'AUDIO'),
    'gen_ai.usage.image.output_tokens': of('candidatesTokensDetails', 'IMAGE'),
    'gen_ai.usage.audio.output_tokens': of('candidatesTokensDetails', 'AUDIO'),
  });
  return true;
}

function readPredictions(exchange, events, attributes) {
  const pictures = sum(...events.map((event) => list(event.predictions).length || undefined));
  if (pictures === undefined) return false;
  attributes['tallyspan.meter.images'] = pictures;
  return true;
}

function readBedrock(exchange, events, attributes) {
  const usage = object(object(events[events.length - 1]).usage);
  const input = count(usage.inputTokens);
  if (input === undefined) return false;
  const [read, written] = [count(usage.cacheReadInputTokens), count(usage.cacheWriteInputTokens)];
  put(attributes, {
    'gen_ai.usage.input_tokens': sum(input, read, written),
    'gen_ai.usage.output_tokens': count(usage.outputTokens),
    'gen_ai.usage.cache_read.input_tokens': read,
    'gen_ai.usage.cache_write.input_tokens': written,
  });
  return true;
}

const reportedRuns = new Set();
const RUN_IS_OVER = new Set(['completed', 'incomplete', 'failed', 'cancelled', 'expired']);

/** A run is started in one request and asked for in others: its usage counts once, by its id. */
function readRun(exchange, events, attributes) {
  const run = events.filter((event) => event.object === 'thread.run' && isObject(event.usage)).pop();
  if (!run || !RUN_IS_OVER.has(run.status) || reportedRuns.has(run.id)) return null;
  if (reportedRuns.size >= MAX_RUNS) reportedRuns.clear();
  reportedRuns.add(run.id);
  const ids = createHash('sha256').update(String(run.id)).digest('hex');
  exchange.traceId = ids.slice(0, 32); // another process that asks for it reports the same span
  exchange.spanId = ids.slice(32, 48);
  exchange.parentId = '';
  const began = count(run.created_at) * 1000;
  // a run ends within minutes: an older time is not that of this call
  if (began <= exchange.startMs && exchange.startMs - began < MAX_RUN_MS) exchange.startMs = began;
  return readOpenAI(exchange, [run], attributes);
}

// ---------------------------------------------------------------- estimates

const NO_TEXT = new Set(['data', 'url', 'image_url', 'input_audio', 'file_data', 'file', 'inlineData',
  'source', 'type', 'role', 'id', 'cache_control', 'model']);
const ANSWER_TEXT = new Set(['content', 'text', 'thinking', 'partial_json', 'arguments', 'reasoning',
  'reasoning_content', 'delta']);

/** Return how many characters a text has, and how many of them are of scripts with many signs. */
function charactersOf(text) {
  let all = 0;
  let wide = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code >= 0xdc00 && code <= 0xdfff) continue; // the second half of one character
    all += 1;
    if (code >= 0x2e80) wide += 1;
  }
  return { all, wide };
}

function addCharacters(total, text) {
  const { all, wide } = charactersOf(text);
  total.all += all;
  total.wide += wide;
}

function walk(value, total, keys, isWanted) {
  if (typeof value === 'string') {
    if (isWanted) addCharacters(total, value);
  } else if (Array.isArray(value)) {
    for (const item of value) walk(item, total, keys, isWanted);
  } else if (isObject(value)) {
    for (const [key, item] of Object.entries(value)) {
      walk(item, total, keys, keys ? keys.has(key) : !NO_TEXT.has(key) && isWanted);
    }
  }
}

/** Say how many characters were sent and streamed so far: the collector makes tokens of them. */
function addEstimate(exchange, events, attributes) {
  if (attributes['gen_ai.usage.input_tokens'] === undefined
    && attributes['gen_ai.usage.prompt_tokens'] === undefined) {
    const { params } = exchange;
    const total = { all: 0, wide: 0 };
    const prompt = params.messages ?? params.input ?? params.contents ?? params.prompt;
    for (const part of [prompt, params.system, params.instructions, params.systemInstruction]) {
      walk(part, total, null, true);
    }
    if (params.tools) addCharacters(total, JSON.stringify(params.tools));
    if (exchange.isRequestRead) {
      attributes['tallyspan.estimate.input_characters'] = total.all;
      attributes['tallyspan.estimate.input_wide_characters'] = total.wide;
      attributes['tallyspan.estimate.messages'] = Array.isArray(prompt) ? prompt.length : 1;
    }
  }
  const total = { all: 0, wide: 0 };
  for (const event of events) walk(event, total, ANSWER_TEXT, false);
  const { answer } = exchange;
  const scale = answer && !answer.isWhole && answer.headBytes ? answer.bytes / (answer.headBytes + answer.tailBytes) : 1;
  attributes['tallyspan.estimate.output_characters'] = Math.round(total.all * scale);
  attributes['tallyspan.estimate.output_wide_characters'] = Math.round(total.wide * scale);
}

// ---------------------------------------------------------------- which requests are which

// `chatPath`: beside Langfuse such a request is a chat with that model, and Langfuse's.
// `provider` is who answers where the host is nobody's; the collector knows providers by their hosts.
const RULES = [
  { group: 'images', path: /\/images\/(?:generations|edits|variations)$/, provider: 'openai', read: readImages },
  { group: 'images', path: /\/models\/([^/:]*imagen?[^/:]*):(?:generateContent|streamGenerateContent|predict)$/, chatPath: /:stream/, provider: 'gcp.gemini', read: readGemini },
  { group: 'images', path: /^(?:.*)\/v1\/(flux-[\w.-]+)$/, provider: 'black_forest_labs', read: readPicture },
  { group: 'images', path: /\/stable-image\/generate\/([\w-]+)$/, provider: 'stability_ai', read: readPicture },
  { group: 'images', path: /\/sdapi\/v1\/(txt2img|img2img)$/, provider: 'stable_diffusion', read: readImages },
  { group: 'speech', path: /\/audio\/speech$/, provider: 'openai', read: readSpeech },
  { group: 'speech', path: /\/audio\/(?:transcriptions|translations)$/, provider: 'openai', read: readTranscript },
  { group: 'speech', path: /\/v1\/text-to-speech\/[^/]+(?:\/stream)?$/, provider: 'elevenlabs', read: readSpeech },
  { group: 'assistants', path: /\/threads\/(?:[^/]+\/)?runs(?:\/[^/]+\/submit_tool_outputs)?$/, operation: 'chat', provider: 'openai', read: readRun },
  { group: 'assistants', method: 'GET', path: /\/threads\/[^/]+\/runs\/run_[^/]+$/, operation: 'chat', provider: 'openai', read: readRun },
  { group: 'ocr', path: /\/ocr$/, provider: 'mistral_ai', read: readPages },
  { group: 'ocr', path: /\/models\/(mistral-ocr[^/:]*):rawPredict$/, provider: 'gcp.vertex_ai', read: readPages },
  { group: 'search', host: /(?:^|\.)serper\.dev$/, path: /^\/(\w*)/, operation: 'web_search', provider: 'serper', read: readSearch },
  { group: 'search', host: /(?:^|\.)tavily\.com$/, path: /^\/(search|extract|crawl|map)$/, operation: 'web_search', provider: 'tavily', read: readSearch },
  { group: 'search', host: /(?:^|\.)firecrawl\.dev$/, path: /^\/v\d\/(search|scrape|crawl|map|extract)$/, operation: 'web_search', provider: 'firecrawl', read: readSearch },
  { group: 'rerank', path: /\/rerank$/, operation: 'rerank', provider: 'cohere', read: readRanks },
  { group: 'embeddings', path: /\/embeddings$/, operation: 'embeddings', provider: 'openai', read: readOpenAI },
  { group: 'embeddings', path: /^\/v[12]\/embed$/, operation: 'embeddings', provider: 'cohere', read: readRanks },
  { group: 'chat', path: /\/chat\/completions$/, operation: 'chat', provider: 'openai', read: readOpenAI },
  { group: 'chat', path: /(?<!\/input_tokens)\/responses$/, operation: 'chat', provider: 'openai', read: readOpenAI },
  { group: 'chat', path: /\/v1\/messages$/, operation: 'chat', provider: 'anthropic', read: readAnthropic },
  { group: 'chat', path: /\/models\/(claude[^/:]*):(?:rawPredict|streamRawPredict)$/, operation: 'chat', provider: 'gcp.vertex_ai', read: readAnthropic },
  { group: 'chat', path: /\/models\/([^/:]+):(?:generateContent|streamGenerateContent)$/, operation: 'chat', provider: 'gcp.gemini', read: readGemini },
  { group: 'chat', path: /\/model\/([^/]+)\/converse(?:-stream)?$/, operation: 'chat', provider: 'aws.bedrock', read: readBedrock },
];
const ASSISTANTS_ROUTE = /\/assistants(?:\/|$)/;

/** Return the rule of a request, its model where the path has it, and the group it is counted in. */
function match(method, host, path) {
  for (const rule of RULES) {
    if (method !== (rule.method || 'POST') || (rule.host && !rule.host.test(host))) continue;
    const found = rule.path.exec(path);
    if (!found) continue;
    if (rule.chatPath && settings.isBesideLangfuse && rule.chatPath.test(path)) return null;
    const isOfAssistants = rule.group === 'chat' && ASSISTANTS_ROUTE.test(object(people.getStore()).path || '');
    const group = isOfAssistants ? 'assistants' : rule.group;
    const isCounted = settings.groups.has(group);
    const isForAborts = rule.group === 'chat' && settings.groups.has('aborts');
    if (!isCounted && !isForAborts) return null;
    const [, deployment] = /\/deployments\/([^/]+)\//.exec(path) || [];
    return { rule, group, model: decodeURIComponent(found[1] || deployment || ''), isOnlyForAborts: !isCounted };
  }
  return null;
}

// ---------------------------------------------------------------- who a request is for

const people = new AsyncLocalStorage();

/** Return the user of an incoming request: of a header, else of the token's claims, which are not verified. */
function userOf(headers) {
  if (settings.userHeader && headers[settings.userHeader]) return short(String(headers[settings.userHeader]));
  const token = /^Bearer\s+[\w-]+\.([\w-]+)\.[\w-]*$/i.exec(String(headers.authorization || ''));
  const claims = token ? object(parsed(Buffer.from(token[1], 'base64url').toString('utf8'))) : {};
  for (const claim of settings.userClaims) {
    if (['string', 'number'].includes(typeof claims[claim])) return short(String(claims[claim]));
  }
  return '';
}

const arrive = guarded('read who a request is for', ({ request }) => {
  people.enterWith({ user: userOf(request.headers), path: request.url.split('?')[0] });
});

/** Return the conversation of LangChain's run around this, where there is one. */
function conversationOf() {
  const storage = globalThis[Symbol.for('ls:tracing_async_local_storage')];
  const run = storage && typeof storage.getStore === 'function' ? storage.getStore() : undefined;
  const config = run && run.extra && run.extra[Symbol.for('lc:child_config')];
  return short(object(object(config).configurable).thread_id);
}

/** Return the OpenTelemetry span around this, if the application has tracing: ours goes below it. */
function spanAround() {
  const api = globalThis[Symbol.for('opentelemetry.js.api.1')];
  const context = api && api.context && api.context.active();
  const span = context && context.getValue(Symbol.for('OpenTelemetry Context Key SPAN'));
  const ids = span && span.spanContext && span.spanContext();
  return ids && /^[0-9a-f]{32}$/.test(ids.traceId) && !/^0+$/.test(ids.traceId) ? ids : null;
}

// ---------------------------------------------------------------- a request and its answer

const ABORT_NAMES = new Set(['AbortError', 'CanceledError', 'APIUserAbortError']);

class Exchange {
  constructor(match_, host, port, path) {
    Object.assign(this, match_);
    this.host = host;
    this.port = port;
    this.path = path;
    this.startMs = Date.now();
    this.startedAt = performance.now();
    this.firstAt = null;
    this.request = new Body('', MAX_REQUEST_BYTES);
    this.answer = null;
    this.status = 0;
    this.type = '';
    this.isOver = false;
    this.isSent = false;
    this.isGivenUp = false;
    this.failure = null;
    this.params = {};
    this.isRequestRead = false;
    this.who = object(people.getStore());
    this.conversation = conversationOf();
    const around = spanAround();
    const ids = randomBytes(24).toString('hex');
    this.traceId = around ? around.traceId : ids.slice(0, 32);
    this.spanId = ids.slice(32);
    this.parentId = around ? around.spanId : '';
  }

  answered(status, headers) {
    this.status = status;
    this.type = headers['content-type'] || '';
    const isText = !/^(?:audio|image|video)\//.test(this.type);
    // sound and pictures say nothing of themselves
    this.answer = isText ? new Body((headers['content-encoding'] || '').toLowerCase()) : null;
  }

  received(chunk) {
    if (this.firstAt === null) this.firstAt = performance.now();
    if (this.answer) this.answer.add(chunk);
  }

  /** The exchange is over; `error`: what it was given up with. */
  over(error) {
    if (this.isOver) return;
    this.isOver = true;
    this.endMs = this.startMs + performance.now() - this.startedAt;
    this.error = error ? errorType(error) : '';
    const isAborted = this.error === 'AbortError';
    const isNoAnswer = this.status >= 300 && this.status < 400;
    const isUnsent = isAborted && !this.isSent; // nobody has anything to bill
    if (isNoAnswer || isUnsent || (this.isOnlyForAborts && !isAborted)) {
      this.forget();
      return;
    }
    const read = guarded('read an answer', () => {
      try {
        report(this);
      } finally {
        this.forget();
      }
    });
    setImmediate(() => (this.answer ? this.answer.finish(read) : read()));
  }

  forget() {
    this.request.forget();
    if (this.answer) this.answer.forget();
  }
}

function errorType(error) {
  if (ABORT_NAMES.has(error.name) || error.code === 'ERR_CANCELED') return 'AbortError';
  const { cause } = error;
  return short(error.code || (cause && cause.code) || error.name || 'error');
}

/** Return the fields of a request: its JSON, or the short text fields of a form. */
function paramsOf(exchange) {
  const text = exchange.request.text();
  if (exchange.request.isWhole) {
    const body = parsed(text);
    if (isObject(body)) {
      exchange.isRequestRead = true;
      return body;
    }
  }
  const params = {};
  for (const [, name, value] of text.matchAll(/name="(\w{1,32})"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]{0,256})\r\n/g)) params[name] = value;
  if (!Object.keys(params).length) {
    const model = /"model"\s*:\s*"([^"\\]{1,256})"/.exec(text);
    if (model) [, params.model] = model;
  }
  return params;
}

function report(exchange) {
  const { rule, status, answer } = exchange;
  exchange.params = paramsOf(exchange);
  const { params } = exchange;
  const model = short(params.model || params.model_id) || exchange.model;
  const isStream = params.stream === true || params.stream === 'true'
    || /event-stream/.test(exchange.type) || /[Ss]tream/.test(exchange.path);
  const isRefused = status >= 400;
  if (isRefused && rule.method === 'GET') return; // it only asked for what another request started
  const failure = isRefused ? String(status) : exchange.error;
  const attributes = {
    'gen_ai.operation.name': rule.operation || 'generate_content',
    'gen_ai.provider.name': providerOf(exchange),
    'server.address': exchange.host,
  };
  const metadata = object(params.metadata);
  put(attributes, {
    'gen_ai.request.model': model,
    'server.port': exchange.port,
    'user.id': exchange.who.user || short(params.user) || short(metadata.user_id),
    'gen_ai.conversation.id': exchange.conversation,
    'http.response.status_code': status || undefined,
    'error.type': failure,
  });
  if (isStream) attributes['gen_ai.request.stream'] = true;
  if (isStream && exchange.firstAt !== null) {
    attributes['gen_ai.response.time_to_first_chunk'] = (exchange.firstAt - exchange.startedAt) / 1000;
  }
  const events = answer && !isRefused ? eventsOf(answer, isStream && /event-stream/.test(exchange.type)) : [];
  const isUnread = Boolean(answer && answer.isUnread);
  const isRead = isRefused || (failure && rule.group !== 'chat' && rule.group !== 'assistants')
    ? false : rule.read(exchange, events, attributes);
  if (isRead === null) return; // not yet the end of what it tells of
  const isCut = rule.group === 'chat' && !isRefused && exchange.error && !(isRead && events.some(isEnd))
    && (exchange.status || exchange.error === 'AbortError');
  const isSilent = rule.group === 'chat' && !failure && !isRead && isStream && !isUnread;
  let source = isRead ? 'provider' : 'unknown';
  if (isCut || isSilent) {
    addEstimate(exchange, events, attributes);
    source = 'estimated';
  }
  attributes['tallyspan.usage.source'] = source;
  if (isUnread || (!isRead && source === 'unknown' && !failure)) {
    counters.unread += 1;
    tellOnce(`unread ${rule.path}`, `an answer of ${exchange.host}${exchange.path} says no usage that could be read`
      + `${isUnread ? ' (its coding could not be unpacked)' : ''}: such calls are counted, their usage is unknown`);
  }
  queue.add(spanOf(exchange, attributes, Boolean(failure)));
}

function providerOf({ host, rule }) {
  if (/aiplatform\.[\w.-]*googleapis\.com$/.test(host)) return 'gcp.vertex_ai';
  if (rule.group === 'rerank' && /(?:^|\.)jina\.ai$/.test(host)) return 'jina_ai';
  return rule.provider;
}

// ---------------------------------------------------------------- spans

function valueOf(value) {
  if (typeof value === 'boolean') return { boolValue: value };
  if (typeof value === 'number') {
    return Number.isSafeInteger(value) ? { intValue: String(value) } : { doubleValue: value };
  }
  return { stringValue: String(value) };
}

const nanoseconds = (ms) => String(BigInt(Math.round(ms * 1000)) * 1000n);

function spanOf(exchange, attributes, isError) {
  return {
    traceId: exchange.traceId,
    spanId: exchange.spanId,
    ...(exchange.parentId ? { parentSpanId: exchange.parentId } : {}),
    name: `${attributes['gen_ai.operation.name']} ${attributes['gen_ai.request.model'] || ''}`.trim(),
    kind: 3,
    startTimeUnixNano: nanoseconds(exchange.startMs),
    endTimeUnixNano: nanoseconds(Math.max(exchange.endMs, exchange.startMs)),
    attributes: Object.entries(attributes).map(([key, value]) => ({ key, value: valueOf(value) })),
    status: isError ? { code: 2 } : {},
  };
}

// ---------------------------------------------------------------- the queue, and how it leaves

class Queue {
  constructor() {
    this.lines = []; // spans as JSON, oldest first
    this.bytes = 0;
    this.pauseMs = 0;
    this.timer = null;
    this.isSending = false;
    this.agent = null;
  }

  add(span) {
    counters.spans += 1;
    this._push(JSON.stringify(span));
    this._plan();
  }

  _push(line) {
    if (this.bytes + line.length > MAX_QUEUE_BYTES) {
      counters.dropped += 1;
      tellOnce('dropped', 'the collector is away and the queue is full: newer calls are not counted');
      return;
    }
    this.lines.push(line);
    this.bytes += line.length;
  }

  _plan() {
    if (this.timer || this.isSending || !this.lines.length) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.send();
    }, this.pauseMs || 200);
    this.timer.unref();
  }

  _batch() {
    let bytes = 0;
    let number = 0;
    while (number < this.lines.length && (bytes += this.lines[number].length) <= MAX_BATCH_BYTES) number += 1;
    return Math.max(number, 1);
  }

  send() {
    const number = this._batch();
    const resource = JSON.stringify({ attributes: [
      { key: 'service.name', value: { stringValue: settings.service } },
      { key: 'telemetry.sdk.language', value: { stringValue: 'nodejs' } },
    ] });
    const body = Buffer.from(`{"resourceSpans":[{"resource":${resource},"scopeSpans":[{"scope":{"name":"tallyspan"},`
      + `"spans":[${this.lines.slice(0, number).join(',')}]}]}]}`);
    this.isSending = true;
    const done = (outcome, pauseMs) => {
      if (!this.isSending) return;
      this.isSending = false;
      this._settle(number, outcome, pauseMs);
      this._plan();
    };
    const { protocol } = settings.url;
    this.agent = this.agent || new (protocol === 'https:' ? https : http).Agent({ keepAlive: true });
    const request = people.exit(() => (protocol === 'https:' ? https : http).request(settings.url, {
      method: 'POST', agent: this.agent, timeout: SEND_TIMEOUT_MS,
      headers: {
        'content-type': 'application/json', 'content-length': body.length,
        ...(settings.key ? { authorization: `Bearer ${settings.key}` } : {}),
      },
    }));
    request.on('socket', (socket) => socket.unref());
    request.on('response', (response) => {
      response.resume();
      const after = Number(response.headers['retry-after']) * 1000 || 0;
      response.on('close', () => done(response.statusCode, after));
    });
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', () => done(0, 0));
    request.end(body);
  }

  _settle(number, status, afterMs) {
    const isGone = (status >= 200 && status < 300) || [400, 413, 422].includes(status);
    if (isGone) {
      for (const line of this.lines.splice(0, number)) this.bytes -= line.length;
      this.pauseMs = 0;
      if (status < 300) {
        counters.sent += number;
        told.delete('away');
      } else {
        counters.dropped += number;
        tellOnce('refused', `the collector refused calls with status ${status}: they are not counted`);
      }
      return;
    }
    this.pauseMs = Math.min(Math.max(afterMs, this.pauseMs * 2, FIRST_PAUSE_MS), MAX_PAUSE_MS);
    tellOnce('away', [401, 403].includes(status)
      ? `the collector refuses the key of TALLYSPAN_PRELOAD_KEY (${status}): calls wait, up to 16 MB of them`
      : `the collector does not answer at ${settings.url.host}${status ? ` (${status})` : ''}: calls wait, up to 16 MB of them`);
  }

  /** Leave what waits in the file of the settings; a span that was just sent is known by its ids. */
  save() {
    if (!settings.file || !this.lines.length) return;
    fs.appendFileSync(settings.file, `${this.lines.join('\n')}\n`, { mode: 0o600 });
  }

  /** Take what an earlier process left. */
  load() {
    if (!settings.file || !fs.existsSync(settings.file)) return;
    const mine = `${settings.file}.${process.pid}`;
    fs.renameSync(settings.file, mine); // of several processes one takes it
    try {
      if (fs.statSync(mine).size > 2 * MAX_QUEUE_BYTES) throw new RangeError('it is too large');
      for (const line of fs.readFileSync(mine, 'utf8').split('\n')) if (isObject(parsed(line))) this._push(line);
    } finally {
      fs.unlinkSync(mine);
    }
    this._plan();
  }
}

// ---------------------------------------------------------------- watching

const exchanges = new WeakMap();

function begin(key, method, host, port, path) {
  if (host === settings.url.hostname && String(port || '') === settings.url.port) return null;
  const found = match(method, host, path);
  if (!found) return null;
  const exchange = new Exchange(found, host, port, path);
  exchanges.set(key, exchange);
  return exchange;
}

/** Return what matters of an answer's headers, which are names and values in turns. */
function headersOf(raw) {
  const headers = {};
  for (let at = 0; at + 1 < raw.length; at += 2) {
    if (raw[at].length !== 12 && raw[at].length !== 16) continue; // content-type, content-encoding
    headers[String(raw[at]).toLowerCase()] = String(raw[at + 1]);
  }
  return headers;
}

const origins = new Map();

/** Return host and port of an origin, from memory if it was met before. */
function placeOf(origin) {
  const text = String(origin);
  let place = origins.get(text);
  if (!place) {
    const { hostname, port } = new URL(text);
    place = { host: hostname, port: Number(port) || undefined };
    if (origins.size >= MAX_ORIGINS) origins.clear();
    origins.set(text, place);
  }
  return place;
}

const of = (action) => (message) => {
  const exchange = exchanges.get(message.request);
  if (exchange) action(exchange, message);
};

/** Yield the chunks of a request's body as they are, noting each: undici 6 has no channel for them. */
async function* noted(body, note) {
  for await (const chunk of body) {
    note(chunk);
    yield chunk;
  }
}

const HAS_CHUNK_CHANNELS = Number((process.versions.undici || '0').split('.')[0]) >= 7;

const UNDICI = {
  'undici:request:create': ({ request }) => {
    const { host, port } = placeOf(request.origin);
    const exchange = begin(request, request.method, host, port, request.path.split('?')[0]);
    if (!exchange) return;
    const { body } = request;
    if (typeof body === 'string' || body instanceof Uint8Array) {
      exchange.request.add(body);
      exchange.hasBody = true;
    } else if (!HAS_CHUNK_CHANNELS && body && typeof body[Symbol.asyncIterator] === 'function' && typeof body.pipe !== 'function') {
      request.body = noted(body, guarded('note a request', (chunk) => exchange.request.add(chunk)));
    }
    if (!HAS_CHUNK_CHANNELS && typeof request.onData === 'function') {
      const pass = request.onData;
      const note = guarded('note an answer', (chunk) => exchange.received(chunk));
      request.onData = function onData(chunk) {
        note(chunk);
        return pass.call(this, chunk);
      };
    }
  },
  'undici:client:sendHeaders': of((exchange) => {
    exchange.isSent = true;
  }),
  'undici:request:bodyChunkSent': of((exchange, { chunk }) => {
    if (!exchange.hasBody) exchange.request.add(chunk);
  }),
  'undici:request:headers': of((exchange, { response }) => exchange.answered(response.statusCode, headersOf(response.headers))),
  'undici:request:bodyChunkReceived': of((exchange, { chunk }) => exchange.received(chunk)),
  'undici:request:trailers': of((exchange) => exchange.over(null)),
  'undici:request:error': of((exchange, { error }) => exchange.over(error || new Error('error'))),
};

/** Note whether the application itself gives up a request or an answer of `node:http`. */
function watchDestroy(stream, exchange) {
  const pass = stream.destroy;
  stream.destroy = function destroy(error, ...more) {
    // Node destroys the answer itself where the connection was lost
    if (!(error && error.code === 'ECONNRESET')) exchange.isGivenUp = true;
    return pass.call(this, error, ...more);
  };
}

/** Watch the bodies of one request of `node:http`, for which there is no channel. */
function watchClient(request) {
  const [, host, port] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(String(request.getHeader('host') || request.host || '')) || [];
  const exchange = begin(request, request.method, host || '', Number(port) || undefined, request.path.split('?')[0]);
  if (!exchange) return;
  const note = guarded('note a request', (chunk, encoding) => {
    if (typeof chunk === 'string') exchange.request.add(Buffer.from(chunk, typeof encoding === 'string' ? encoding : 'utf8'));
    else if (chunk instanceof Uint8Array) exchange.request.add(chunk);
  });
  let isInside = false; // `end` calls `write` in some versions
  for (const name of ['write', 'end']) {
    const pass = request[name];
    request[name] = function watched(chunk, ...more) {
      if (!isInside) note(chunk, more[0]);
      isInside = true;
      try {
        return pass.call(this, chunk, ...more);
      } finally {
        isInside = false;
      }
    };
  }
  watchDestroy(request, exchange);
  request.on('close', guarded('end an exchange', () => {
    const { res, socket } = request;
    exchange.isSent = Boolean(res || (socket && socket.bytesWritten));
    const isWhole = res && res.complete && !res.readableAborted;
    const lost = { name: exchange.isGivenUp ? 'AbortError' : 'Error', code: 'ECONNRESET' };
    exchange.over(exchange.failure || (isWhole ? null : lost));
  }));
}

const HTTP = {
  'http.client.request.created': ({ request }) => watchClient(request),
  'http.client.request.error': of((exchange, { error }) => {
    exchange.failure = error;
  }),
  'http.client.response.finish': of((exchange, { response }) => {
    exchange.answered(response.statusCode, response.headers);
    watchDestroy(response, exchange);
    const pass = response.push;
    const note = guarded('note an answer', (chunk) => chunk && exchange.received(chunk));
    response.push = function push(chunk, encoding) {
      note(chunk);
      return pass.call(this, chunk, encoding);
    };
  }),
  'http.server.request.start': arrive,
};

// ---------------------------------------------------------------- start and stop

const settings = settingsOf(process.env);
const queue = new Queue();
const watched = [];

function start() {
  for (const [name, action] of Object.entries({ ...UNDICI, ...HTTP })) {
    const listener = guarded(`follow ${name}`, action);
    channels.subscribe(name, listener);
    watched.push([name, listener]);
  }
  guarded('take what an earlier process left', () => queue.load())();
  process.on('exit', guarded('leave what waits', () => {
    queue.save();
    if (!settings.file && queue.lines.length > 0) {
      tellOnce('exit', `${queue.lines.length} calls could not be sent any more; TALLYSPAN_PRELOAD_FILE keeps them for the next start`);
    }
  }));
}

function stop() {
  for (const [name, listener] of watched.splice(0)) channels.unsubscribe(name, listener);
  tellOnce('stop', 'too many failures: nothing is counted any more');
}

const LOADED = Symbol.for('tallyspan.preload');
if (settings && globalThis[LOADED]) {
  tellOnce('twice', `is loaded already, from ${globalThis[LOADED]}: this copy counts nothing`);
} else if (settings) {
  globalThis[LOADED] = __filename;
  guarded('start', start)();
}

module.exports = { counters, keptBytes: () => keptBytes };
