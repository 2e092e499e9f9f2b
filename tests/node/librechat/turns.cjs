// LibreChat's turns inside requests of a user: node --require PRELOAD turns.cjs PROVIDER_PORT
'use strict';

const http = require('node:http');
const { OpenAI } = require('openai');
const { tool } = require('@langchain/core/tools');
const { runTurn } = require('../../conformance/librechat.cjs');

const base = `http://127.0.0.1:${process.argv[2]}`;
const who = { user: 'ada', conversation: 'c0nv-1', agent: 'agent_7Hq', agentName: 'Helper', base };
const mini = { agent: 'openAI__gpt-5-mini', agentName: 'openAI__gpt-5-mini' }; // no agent
const turns = [
  { ...who, message: 'm-1', provider: 'openAI', model: 'gpt-4o', title: true },
  { ...who, message: 'm-2', provider: 'openAI', model: 'gpt-4o-endless', abortAfter: 900 },
  { ...who, ...mini, message: 'm-4', provider: 'openAI', model: 'gpt-5-mini', title: true },
  { ...who, ...mini, message: 'm-5', provider: 'openAI', model: 'refused-model' },
  { ...who, agent: 'local-llama__silent___Llama', message: 'm-6', provider: 'openAI', model: 'llama-silent', streamUsage: false },
  { ...who, agent: 'default', agentName: '', message: 'm-7', provider: 'openAI', model: 'gpt-4o-mini' },
  { ...who, agent: 'agent_9Kz', agentName: 'Other', message: 'm-8', provider: 'openAI', model: 'gpt-4o-endless', abortAfter: 950 },
  { ...who, message: 'm-3', provider: 'anthropic', model: 'claude-sonnet-4-5-endless', abortAfter: 900 },
];

const application = http.createServer(async (request, response) => {
  for (const isAborted of [false, true]) {
    await Promise.all(turns.filter((turn) => Boolean(turn.abortAfter) === isAborted).map((turn) => runTurn(__dirname, turn)));
  }
  const openai = new OpenAI({ apiKey: 'x', baseURL: `${base}/v1`, maxRetries: 0 });
  const draw = tool(() => openai.images.generate({ model: 'gpt-image-1', prompt: 'a cat' }), { name: 'image_gen_oai', schema: { type: 'object' } });
  await draw.invoke({}, { configurable: { thread_id: who.conversation } });
  response.end();
});

async function main() {
  await new Promise((done) => application.listen(0, '127.0.0.1', done));
  const token = `x.${Buffer.from(JSON.stringify({ id: who.user })).toString('base64url')}.x`;
  await fetch(`http://127.0.0.1:${application.address().port}/api/agents/chat/agents`, { headers: { authorization: `Bearer ${token}` } });
  await new Promise((done) => setTimeout(done, 2500)); // the exporters' own pace
}

setTimeout(() => process.exit(1), 25000);
main().then(() => process.exit(0));
