// One call by a JavaScript SDK with its own tracing; prints the spans as JSON.
// node capture_node.cjs FOLDER_WITH_NODE_MODULES EMITTER '{"base": ..., "model": ..., ...}'  (see capture_node.py)
const { createRequire } = require('node:module');
const { join } = require('node:path');
const need = createRequire(join(process.argv[2], 'package.json'));
const call = JSON.parse(process.argv[4]);
const { NodeTracerProvider } = need('@opentelemetry/sdk-trace-node');
const { SimpleSpanProcessor, InMemorySpanExporter } = need('@opentelemetry/sdk-trace-base');
const memory = new InMemorySpanExporter();
const processor = new SimpleSpanProcessor(memory);
const telemetry = { isEnabled: true, functionId: 'support', metadata: { userId: 'ada', sessionId: 'c-7' } };

async function ai(extra) {
  const { generateText, streamText } = need('ai');
  const sdk = need(`@ai-sdk/${call.provider}`);
  const make = call.provider === 'openai' ? sdk.createOpenAI : sdk.createAnthropic;
  const provider = make({ apiKey: 'x', baseURL: `${call.base}/v1`, ...(call.provider === 'openai' ? { compatibility: 'strict' } : {}) });
  const model = call.api === 'openai.chat' && provider.chat ? provider.chat(call.model)
    : call.api === 'openai.responses' && provider.responses ? provider.responses(call.model) : provider(call.model);
  const asked = { model, prompt: 'hello', maxRetries: 0, experimental_telemetry: telemetry, ...extra };
  if (call.stream) {
    const answer = await streamText(asked);  // version 3 returns a promise
    for await (const part of answer.textStream) void part;
  } else {
    await generateText(asked);
  }
}

async function openai(client) {
  const create = call.api === 'openai.chat'
    ? (asked) => client.chat.completions.create({ ...asked, messages: [{ role: 'user', content: 'hello' }] })
    : (asked) => client.responses.create({ ...asked, input: 'hello' });
  const answer = await create({
    model: call.model, user: 'ada', stream: call.stream,
    ...(call.stream && call.api === 'openai.chat' ? { stream_options: { include_usage: true } } : {}),
  });
  if (call.stream) for await (const part of answer) void part;
}

async function langchain() {
  const make = call.provider === 'openai'
    ? () => new (need('@langchain/openai').ChatOpenAI)({
      model: call.model, apiKey: 'x', maxRetries: 0, streamUsage: true, configuration: { baseURL: `${call.base}/v1` },
    })
    : () => new (need('@langchain/anthropic').ChatAnthropic)({
      model: call.model, apiKey: 'x', maxRetries: 0, anthropicApiUrl: call.base,
    });
  const { ChatPromptTemplate } = need('@langchain/core/prompts');
  const chain = ChatPromptTemplate.fromTemplate('{text}').pipe(make());
  if (call.stream) for await (const part of await chain.stream({ text: 'hello' })) void part;
  else await chain.invoke({ text: 'hello' });
}

const client = (OpenAI) => new OpenAI({ apiKey: 'x', baseURL: `${call.base}/v1`, maxRetries: 0 });

const EMITTERS = {
  ai: () => ai({}),
  async ai7() {
    const { OpenTelemetry } = need('@ai-sdk/otel');
    await ai({ experimental_telemetry: { ...telemetry, integrations: [new OpenTelemetry()] }, telemetry: { ...telemetry, integrations: [new OpenTelemetry()] } });
  },
  async langfuse() {
    const { observeOpenAI } = need('@langfuse/openai');
    await openai(observeOpenAI(client(need('openai').OpenAI), { sessionId: 'c-7', userId: 'ada' }));
  },
  async openinference(provider) {
    const { OpenAIInstrumentation } = need('@arizeai/openinference-instrumentation-openai');
    const made = new OpenAIInstrumentation({ tracerProvider: provider });
    const module = need('openai');
    made.manuallyInstrument(module.OpenAI ?? module);
    await openai(client(module.OpenAI));
  },
  async openllmetry(provider) {
    const { OpenAIInstrumentation } = need('@traceloop/instrumentation-openai');
    const made = new OpenAIInstrumentation({ traceContent: false });
    made.setTracerProvider(provider);
    const module = need('openai');
    made.manuallyInstrument(module.OpenAI ?? module);
    await openai(client(module.OpenAI));
  },
  async langchain_openinference(provider) {
    const { LangChainInstrumentation } = need('@arizeai/openinference-instrumentation-langchain');
    const made = new LangChainInstrumentation({ tracerProvider: provider });
    made.manuallyInstrument(need('@langchain/core/callbacks/manager'));
    await langchain();
  },
  async langchain_openllmetry(provider) {
    const { LangChainInstrumentation } = need('@traceloop/instrumentation-langchain');
    const made = new LangChainInstrumentation({ traceContent: false });
    made.setTracerProvider(provider);
    made.manuallyInstrument({ callbackManagerModule: need('@langchain/core/callbacks/manager') });
    await langchain();
  },
  async otel(provider) {
    const { registerInstrumentations } = need('@opentelemetry/instrumentation');
    const { OpenAIInstrumentation } = need('@opentelemetry/instrumentation-openai');
    registerInstrumentations({ tracerProvider: provider, instrumentations: [new OpenAIInstrumentation()] });
    await openai(client(need('openai').OpenAI));
  },
  async mastra() {
    const { Mastra } = need('@mastra/core/mastra');
    const { Agent } = need('@mastra/core/agent');
    const { Observability } = need('@mastra/observability');
    const { OtelExporter } = need('@mastra/otel-exporter');
    const sdk = need(`@ai-sdk/${call.provider}`);
    const asked = { apiKey: 'x', baseURL: `${call.base}/v1` };
    const model = call.provider === 'openai' ? sdk.createOpenAI(asked).chat(call.model) : sdk.createAnthropic(asked)(call.model);
    const options = { tracingOptions: { metadata: { userId: 'ada', sessionId: 'c-7' } } };
    const exporter = new OtelExporter({
      provider: { custom: { endpoint: `${call.base}/v1/traces`, protocol: 'http/protobuf' } },
    });
    const app = new Mastra({
      agents: { support: new Agent({ id: 'support', name: 'support', instructions: 'Be brief.', model }) },
      observability: new Observability({ configs: { otel: { serviceName: 'capture', exporters: [exporter] } } }),
    });
    const agent = app.getAgent('support');
    if (call.stream) {
      const answer = await agent.stream('hello', options);
      for await (const part of answer.textStream) void part;
    } else {
      await agent.generate('hello', options);
    }
    await exporter.flush?.();
    await exporter.shutdown();
  },
  async genkit() {
    const { genkit } = need('genkit');
    const { openAI } = need('@genkit-ai/compat-oai/openai');
    const app = genkit({ plugins: [openAI({ apiKey: 'x', baseURL: `${call.base}/v1` })] });
    if (call.stream) {
      const { stream, response } = app.generateStream({ model: openAI.model(call.model), prompt: 'hello' });
      for await (const part of stream) void part;
      await response;
    } else {
      await app.generate({ model: openAI.model(call.model), prompt: 'hello' });
    }
  },
};

const ns = ([seconds, nanos]) => Number(BigInt(seconds) * 1000000000n + BigInt(nanos)).toString();
async function main() {
  const provider = new NodeTracerProvider({ spanProcessors: [processor] });
  provider.register();
  if (process.argv[3] === 'genkit') {
    need('@genkit-ai/core/tracing');
  }
  try {
    await EMITTERS[process.argv[3]](provider);
  } catch (error) {
    console.error(error.stack.slice(0, 600));
  }
  await new Promise((done) => setTimeout(done, 300));
  const spans = memory.getFinishedSpans().map((span) => ({
    trace_id: span.spanContext().traceId, span_id: span.spanContext().spanId,
    parent_span_id: span.parentSpanContext?.spanId ?? '', name: span.name, kind: span.kind + 1,
    start_time_ns: ns(span.startTime), end_time_ns: ns(span.endTime), is_error: span.status.code === 2,
    scope_name: span.instrumentationScope.name, scope_version: span.instrumentationScope.version ?? '',
    attributes: span.attributes,
  }));
  process.stdout.write(JSON.stringify(spans), () => process.exit(0));
}
setTimeout(() => process.exit(1), 20000);
main();
