// A turn of LibreChat: what its `createRun` does with @librechat/agents, exporting to LANGFUSE_BASE_URL.
// node librechat.cjs FOLDER_WITH_NODE_MODULES '{"provider": "openAI", ...}'   (see capture_librechat.py)
const { createRequire } = require('node:module');
const { join } = require('node:path');

const clientsOf = (turn) => ({
  openAI: { model: turn.model, apiKey: 'x', streaming: true, streamUsage: turn.streamUsage ?? true, maxRetries: 0,
    configuration: { baseURL: `${turn.base}${turn.prefix ?? '/v1'}` } },
  anthropic: { model: turn.model, apiKey: 'x', streaming: true, streamUsage: true, maxRetries: 0,
    clientOptions: { baseURL: turn.base }, anthropicApiUrl: turn.base },
});

/** Run a turn with the packages of a folder. */
async function runTurn(folder, turn) {
  const need = createRequire(join(folder, 'package.json'));
  const { Run } = need('@librechat/agents');
  const { HumanMessage } = need('@langchain/core/messages');
  const abort = new AbortController();
  const client = clientsOf(turn)[turn.provider];
  const run = await Run.create({
    runId: turn.message,
    graphConfig: {
      type: 'standard',
      signal: abort.signal,
      agents: [{
        agentId: turn.agent, name: turn.agentName, provider: turn.provider, clientOptions: client,
        instructions: 'Be brief.', tools: [],
      }],
    },
    langfuse: { deterministicTraceId: true },
    returnContent: true,
    customHandlers: {},
  });
  const config = {
    runId: turn.message,
    configurable: { thread_id: turn.conversation, user_id: turn.user, requestBody: { messageId: turn.message, conversationId: turn.conversation } },
    signal: abort.signal, recursionLimit: 25, streamMode: 'values', version: 'v2',
  };
  if (turn.abortAfter) setTimeout(() => abort.abort(), turn.abortAfter);
  try {
    await run.processStream({ messages: [new HumanMessage('hello')] }, config);
  } catch (error) {
    console.error('turn:', error.name, String(error.message).slice(0, 200));
  }
  console.error('turn: over');
  if (turn.title) {
    try {
      const made = await run.generateTitle({
        provider: turn.provider, clientOptions: { ...client, streaming: false, streamUsage: false }, inputText: 'hello', contentParts: [{ type: 'text', text: 'hi' }],
        titleMethod: 'completion', skipLanguage: true, chainOptions: { configurable: config.configurable, runName: 'TitleRun' },
      });
      console.error('title:', JSON.stringify(made).slice(0, 80));
    } catch (error) {
      console.error('title:', error.name, String(error.message).slice(0, 200));
    }
  }
}

async function main() {
  const turn = JSON.parse(process.argv[3]);
  await runTurn(process.argv[2], turn);
  await new Promise((done) => setTimeout(done, turn.wait ?? 2500)); // the exporter's own pace
}

module.exports = { runTurn };
if (require.main === module) {
  setTimeout(() => process.exit(1), 15000);
  main().then(() => process.exit(0));
}
