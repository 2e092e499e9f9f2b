// An application of real clients, which answers requests of users: node --require PRELOAD play.cjs PROVIDER_PORT
// Each of `calls` runs inside a request to the application, by the user of its token, as LibreChat's do.
'use strict';

const http = require('node:http');
const zlib = require('node:zlib');
const axios = require('axios');
const { OpenAI } = require('openai');

const port = process.argv[2];
const base = `http://127.0.0.1:${port}`;
const openai = new OpenAI({ apiKey: 'x', baseURL: `${base}/v1`, maxRetries: 0 });
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const here = { address: '127.0.0.1', family: 4 };
const local = (host, options, done) => done(null, ...(options.all ? [[here]] : [here.address, 4])); // every name is the provider
const toLocal = { lookup: local, httpAgent: new http.Agent({ lookup: local }) };
const messages = [{ role: 'user', content: 'What is the capital of France?' }]; // 30 characters
const post = (path, body, more = {}) => fetch(base + path, {
  method: 'POST', body: JSON.stringify(body), ...more, headers: { 'content-type': 'application/json', ...more.headers },
});

async function aborted(path, body, headers) {
  const abort = new AbortController();
  const answer = await post(path, { ...body, stream: true }, { signal: abort.signal, headers });
  let text = '';
  let timer;
  const decoder = new TextDecoder();
  try {
    for await (const chunk of answer.body) {
      text += decoder.decode(chunk);
      if (text.split('\n\n').length > 2) timer ||= setTimeout(() => abort.abort(), 50); // two events are there
    }
  } catch (error) {
    if (error.name !== 'AbortError') throw error;
  }
}

const calls = {
  '/api/agents/tools': async () => {
    await openai.images.generate({ model: 'gpt-image-1', prompt: 'a cat' });
    await axios.post(`${base}/v1/images/generations`, { model: 'dall-e-3', prompt: 'two cats', n: 2, size: '1792x1024', quality: 'hd' },
      { httpAgent: agent, headers: { 'x-coding': 'gzip' } });
    await post('/moved/v1/images/edits', { model: 'gpt-image-1-mini', prompt: 'a dog' }, { headers: { 'x-coding': 'gzip' } })
      .then((answer) => answer.arrayBuffer());
    await post('/v1beta/models/gemini-2.5-flash-image:generateContent', { contents: [] }).then((answer) => answer.text());
    await fetch(`${own}/v1/images/variations`, { method: 'POST', body: JSON.stringify({ model: 'gpt-image-1.5' }) })
      .then((answer) => answer.text());
    await post('/v1/flux-pro-1.1', { prompt: 'a tree' }).then((answer) => answer.text());
    await post('/v1/images/generations', { model: 'refused', prompt: 'x' }).then((answer) => answer.text());
    await axios.post('http://127.0.0.1:9/v1/images/generations', { model: 'unreachable' }).catch(() => {});
  },
  '/api/files/speech/tts/manual': async () => {
    await axios.post(`${base}/v1/audio/speech`, { model: 'tts-1', input: 'Grüße 👋', voice: 'alloy' },
      { httpAgent: agent, responseType: 'arraybuffer' });
    await axios.post(`${base}/v1/audio/speech`, { model: 'tts-1-hd', input: 'abc' }, { httpAgent: agent, responseType: 'stream' })
      .then((answer) => new Promise((done) => answer.data.on('end', done).resume()));
  },
  '/api/files/speech/stt': async () => {
    const form = new FormData();
    form.append('file', new Blob([Buffer.alloc(300000)]), 'audio.webm');
    form.append('model', 'whisper-1');
    await axios.post(`${base}/v1/audio/transcriptions`, form);
    form.set('model', 'whisper-1-verbose');
    form.append('response_format', 'verbose_json');
    await fetch(`${base}/v1/audio/transcriptions`, { method: 'POST', body: form }).then((answer) => answer.text());
  },
  '/api/assistants/v2/chat': async () => {
    const run = await openai.beta.threads.runs.create('thread_1', { assistant_id: 'asst_1' });
    for (let asked = 0; asked < 2; asked += 1) await openai.beta.threads.runs.retrieve(run.id, { thread_id: 'thread_1' });
    await openai.chat.completions.create({ model: 'gpt-3.5-turbo', messages });
  },
  '/api/files': async () => {
    await axios.post(`${base}/v1/ocr`, { model: 'mistral-ocr-latest', document: { type: 'document_url', document_url: 'x' } });
  },
  '/api/agents/chat/search': async () => {
    await axios.post(`http://google.serper.dev:${port}/search`, { q: 'secret words' }, toLocal);
    await axios.post(`http://api.jina.ai:${port}/v1/rerank`, { model: 'jina-reranker-v2', query: 'q', documents: ['d'] }, toLocal);
    await axios.post(`http://api.cohere.com:${port}/v2/rerank`, { model: 'rerank-v3.5', query: 'q', documents: ['d'] }, toLocal);
  },
  '/api/agents/chat/openAI': async () => {
    // what Langfuse reports: not ours, unless it is aborted
    await openai.chat.completions.create({ model: 'gpt-4o-told-elsewhere', messages });
    await openai.chat.completions.create({ model: 'gpt-4o-stream-told-elsewhere', messages, stream: true })
      .then(async (stream) => { for await (const chunk of stream) void chunk; });
    await aborted('/v1/chat/completions', { model: 'gpt-4o-endless', messages });
    await aborted('/v1/messages', { model: 'claude-sonnet-4-5-endless', messages, max_tokens: 64 });
    const abort = new AbortController();
    const answer = await axios.post(`${base}/v1/chat/completions`, { model: 'gpt-4o-axios-endless', messages, stream: true },
      { responseType: 'stream', signal: abort.signal });
    await new Promise((done) => {
      answer.data.once('data', () => setTimeout(() => abort.abort(), 50));
      answer.data.on('error', done).on('data', () => {});
    });
  },
};

const ofBrotli = zlib.brotliCompressSync(JSON.stringify({ data: [{}], usage: { input_tokens: 7, output_tokens: 272 } }));
let own;

const application = http.createServer((request, response) => {
  if (request.url.startsWith('/v1/')) { // a provider that packs its answers so
    response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'br' }).end(ofBrotli);
    return;
  }
  calls[request.url]().then(() => response.end('done'), (error) => {
    console.error(request.url, error);
    response.statusCode = 500;
    response.end();
  });
});

function tokenOf(user) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'HS256' })}.${part({ id: user, username: 'x' })}.c2ln`;
}

async function main() {
  await new Promise((done) => application.listen(0, '127.0.0.1', done));
  own = `http://127.0.0.1:${application.address().port}`;
  const statuses = await Promise.all(Object.keys(calls).map(async (path, number) => {
    const answer = await fetch(own + path, { headers: { authorization: `Bearer ${tokenOf(number % 2 ? 'bob' : 'ada')}` } });
    return answer.status;
  }));
  await new Promise((done) => setTimeout(done, Number(process.env.PLAY_WAIT_MS || 600)));
  console.log(JSON.stringify(statuses));
  process.exit(0);
}

main();
