// One call by a JavaScript SDK whose provider answers as capture_usage.py says; prints its spans as JSON.
// node capture_usage.mjs FOLDER_WITH_NODE_MODULES PACKAGE '{"base": ..., "model": ...}'
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
const need = createRequire(join(process.argv[2], 'package.json'));
const load = (name) => import(pathToFileURL(need.resolve(name)).href);
const [, , , wanted, text] = process.argv;
const call = JSON.parse(text);
const { NodeTracerProvider } = need('@opentelemetry/sdk-trace-node');
const { SimpleSpanProcessor, InMemorySpanExporter } = need('@opentelemetry/sdk-trace-base');
const memory = new InMemorySpanExporter();
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(memory)] });
provider.register();

async function ai() {
  const { generateText } = need('ai');
  const isGrok = call.model.startsWith('grok');
  const model = isGrok
    ? need('@ai-sdk/xai').createXai({ apiKey: 'x', baseURL: `${call.base}/v1` })(call.model)
    : need('@ai-sdk/google').createGoogleGenerativeAI({ apiKey: 'x', baseURL: `${call.base}/v1beta` })(call.model);
  await generateText({ model, prompt: 'hello', maxRetries: 0, experimental_telemetry: { isEnabled: true } });
}

async function strands() {
  const { Agent, BedrockModel } = await load('@strands-agents/sdk');
  const { NodeHttpHandler } = need('@smithy/node-http-handler');  // HTTP/2 otherwise
  const model = new BedrockModel({ modelId: call.model, region: 'us-east-1', stream: call.stream, clientConfig: { endpoint: call.base, requestHandler: new NodeHttpHandler() } });
  await new Agent({ model, printer: false }).invoke('hello');
}

const ns = ([seconds, nanos]) => (BigInt(seconds) * 1000000000n + BigInt(nanos)).toString();
setTimeout(() => process.exit(1), 30000);
try {
  await (wanted === 'ai' ? ai() : strands());
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
