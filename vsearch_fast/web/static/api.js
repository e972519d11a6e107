// Talks to the server. Everything that can go wrong becomes one kind of error, an ApiError.

const RETRIES = 3;
const LONGEST_WAIT = 60; // seconds; a server that asks for more is not waited for unseen

export class ApiError extends Error {
  constructor({ cause, consequence = "", cure = "" }, status = 0) {
    super(cause);
    this.name = "ApiError";
    this.parts = { cause, consequence, cure };
    this.status = status; // 0: there was no answer at all
  }

  // Whether the same request may succeed later, unchanged.
  get passing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, seconds * 1000);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}

async function errorOf(answer) {
  try {
    const { error } = await answer.json();
    if (error?.cause) return new ApiError(error, answer.status);
  } catch {
    // Not the server's own words: a proxy's page, say.
  }
  return new ApiError(
    {
      cause: `The server answered with status ${answer.status} and no explanation.`,
      consequence: "Nothing was searched.",
      cure: "Try again; if it stays, look into the server's log.",
    },
    answer.status,
  );
}

// Headers carry either seconds or a date; only the first is worth waiting for.
function secondsToWait(answer) {
  const seconds = Number(answer.headers.get("Retry-After") ?? 1);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds : 1;
}

// `waiting(seconds, attempt, of, error)` is told when a busy server is asked again later.
export async function call(path, { signal, waiting, ...options } = {}) {
  for (let attempt = 1; ; attempt += 1) {
    let answer;
    try {
      answer = await fetch(path, { ...options, signal });
      if (answer.ok) return await answer.json();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError({
        cause: "The server cannot be reached.",
        consequence: "What is shown here was not brought up to date.",
        cure: "Check the network and that the server is running, then try again.",
      });
    }
    const error = await errorOf(answer);
    const seconds = secondsToWait(answer);
    const busy = answer.status === 429 || answer.status === 503;
    if (!busy || attempt > RETRIES || seconds > LONGEST_WAIT) throw error;
    waiting?.(seconds, attempt, RETRIES, error);
    await pause(seconds, signal);
  }
}

export const catalogue = (options) => call("api/catalogue", options);

export function items({ where = [], after, ids = [], limit }, options) {
  const asked = new URLSearchParams();
  if (limit) asked.set("limit", limit);
  if (after) asked.set("after", after);
  for (const condition of where) asked.append("where", condition);
  for (const id of ids) asked.append("id", id);
  return call(`api/items?${asked}`, options);
}

export function search(state, file, options) {
  const form = new FormData();
  if (file) form.set("image", file, file.name || "picture");
  else if (state.query) form.set("query", state.query);
  else form.set("id", state.id);
  if (state.box) form.set("box", state.box);
  form.set("k", state.k);
  form.set("metric", state.metric);
  for (const condition of state.where) form.append("where", condition);
  return call("api/search", { ...options, method: "POST", body: form });
}

export function thumbnail(picture, size) {
  return `api/thumbnails?${new URLSearchParams({ ...picture, size })}`;
}
