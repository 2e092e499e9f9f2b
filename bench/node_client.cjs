// CPU microseconds of a call by fetch: node [--require PRELOAD] node_client.cjs PATH CALLS (its provider is a child)
'use strict';

const { fork } = require('node:child_process');
const http = require('node:http');

const ANSWER = JSON.stringify({
  id: 'chatcmpl-1', model: 'gpt-4o', choices: [{ message: { content: 'y'.repeat(2000) } }],
  usage: { prompt_tokens: 1000, completion_tokens: 500, total_tokens: 1500 },
});

function provide() {
  const server = http.createServer((request, response) => {
    request.resume().on('end', () => response.setHeader('content-type', 'application/json').end(request.url.endsWith('/v1/traces') ? '{}' : ANSWER));
  });
  server.listen(0, '127.0.0.1', () => process.send(server.address().port));
}

async function measure(port, path, calls) {
  const body = JSON.stringify({ model: 'gpt-4o', messages: [{ role: 'user', content: 'x'.repeat(4000) }] });
  const call = async () => (await fetch(`http://127.0.0.1:${port}${path}`, { method: 'POST', body })).text();
  for (let number = 0; number < 300; number += 1) await call();
  const before = process.cpuUsage();
  for (let number = 0; number < calls; number += 1) await call();
  const { user, system } = process.cpuUsage(before);
  console.log((user + system) / calls);
  process.exit(0);
}

if (process.argv[2] === 'provide') {
  provide();
} else {
  const child = fork(__filename, ['provide'], { env: {}, execArgv: [] });
  process.on('exit', () => child.kill());
  child.on('message', (port) => measure(port, process.argv[2], Number(process.argv[3])));
}
