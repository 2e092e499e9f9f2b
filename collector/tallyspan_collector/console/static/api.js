// The admin API, as the console uses it.

export class LoggedOut extends Error {}

/** Returns the JSON at the path. Throws LoggedOut, or an Error with the sentence of the server. */
export async function get(path, signal) {
  const answer = await fetch(path, { headers: { Accept: "application/json" }, signal });
  if (answer.status === 401 || answer.status === 403) throw new LoggedOut(await sentence(answer));
  if (!answer.ok) throw new Error(await sentence(answer));
  return answer.json();
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
