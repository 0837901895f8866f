// Asks the server: pictures in, answers out. Waits and tries again where the server is busy; says in plain words what
// went wrong.

import { say } from "./words.js";

/** Kept until the tab is closed. */
const TOKEN = "percept-token";
const READABLE = ["image/jpeg", "image/png", "image/webp", "image/bmp", "image/gif", "image/tiff"];
/** Times that a busy server is asked again. */
const PATIENCE = 6;

/** A sentence for the reader, and what the server said. */
export class Problem extends Error {
  constructor(sentence, detail = "") {
    super(sentence);
    this.detail = detail;
  }
}

export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

/** The headers that show the token, where there is one. */
export function authorisation(token = sessionStorage.getItem(TOKEN)) {
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** What the model says of a picture: `{predictions, unknown, milliseconds, overlay?}`. */
export async function predict(model, picture, { explain = false, signal, waiting } = {}) {
  const wishes = new URLSearchParams({ model, top: 5, explain });
  const answer = await send(`/predict?${wishes}`, picture, { signal, waiting });
  const result = answer.results[0];
  if (result.error) throw new Problem(unreadable(picture), result.error);
  return result;
}

/** Keeps a picture under the name of its right class. */
export async function collect(model, name, picture) {
  return send(`/collect?${new URLSearchParams({ model, class: name })}`, picture, { refused: "name_refused" });
}

async function send(address, picture, { signal, waiting, refused } = {}) {
  for (let tries = 1; ; tries++) {
    const response = await post(address, picture, signal);
    if (response.ok) return response.json();
    const said = await response.json().catch(() => ({}));
    const detail = [said.error, said.hint].filter(Boolean).join(": ");
    if (response.status !== 503 || tries >= PATIENCE) {
      throw new Problem(sentence(response.status, picture, refused), detail);
    }
    waiting?.();
    // Not all at once: those who were refused together would be refused together again.
    const seconds = Number(response.headers.get("retry-after")) || 1;
    await new Promise((done) => setTimeout(done, 1000 * seconds * (0.5 + Math.random())));
  }
}

async function post(address, picture, signal) {
  const type = picture.type.startsWith("image/") ? picture.type : "application/octet-stream";
  try {
    return await fetch(address, {
      method: "POST",
      headers: { "content-type": type, ...authorisation() },
      body: picture,
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(say("unreachable"));
  }
}

function unreadable(picture) {
  return say(READABLE.includes(picture.type) ? "unreadable" : "not_a_picture");
}

function sentence(status, picture, refused) {
  switch (status) {
    case 400:
      return say(refused ?? "failed");
    case 401:
    case 403:
      return say("refused");
    case 408:
    case 504:
      return say("late");
    case 413:
      return say("too_large");
    case 415:
      return say("not_a_picture");
    case 422:
      return refused ? say(refused) : unreadable(picture);
    case 429:
    case 503:
      return say("busy");
    default:
      return say("failed");
  }
}
