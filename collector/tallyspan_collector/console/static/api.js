// The admin API, as the console uses it.

export class LoggedOut extends Error {}
const ENDED = "Your session has ended: it is over, its key is revoked, or the collector was started anew.";

/** Returns the JSON at the path. Throws LoggedOut, or an Error with the sentence of the server. */
export async function get(path, signal) {
  const answer = await fetch(path, { headers: { Accept: "application/json" }, signal });
  if (answer.status === 401) throw new LoggedOut(ENDED);
  if (answer.status === 403) throw new LoggedOut(await sentence(answer));
  if (!answer.ok) throw new Error(await sentence(answer));
  return answer.json();
}

/** Calls `take` with each line of JSON at the path as it comes. Throws as `get` does. */
export async function stream(path, signal, take) {
  const answer = await fetch(path, { signal });
  if (answer.status === 401) throw new LoggedOut(ENDED);
  if (answer.status === 403) throw new LoggedOut(await sentence(answer));
  if (!answer.ok) throw new Error(await sentence(answer));
  const decoder = new TextDecoder();
  let rest = "";
  for (const reader = answer.body.getReader(); ;) {
    const { done, value } = await reader.read();
    const lines = (rest + decoder.decode(value, { stream: !done })).split("\n");
    rest = lines.pop();
    for (const line of lines) take(JSON.parse(line));
    if (done) return;
  }
}

/** Sends JSON. Throws an Error with the sentence of the server. */
export async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}),
  });
  if (!answer.ok) throw new Error(await sentence(answer));
}

async function sentence(answer) {
  try {
    return (await answer.json()).error ?? answer.statusText;
  } catch {
    return `the collector answered ${answer.status}`;
  }
}
