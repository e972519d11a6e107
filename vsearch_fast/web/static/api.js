// Talks to the server. Everything that can go wrong becomes one kind of error, an ApiError.

import { has, t } from "./i18n.js";
import { filterOf } from "./state.js";

const RETRIES = 3;
const LONGEST_WAIT = 60; // seconds; a server that asks for more is not waited for unseen

export class ApiError extends Error {
  constructor({ cause, consequence = "", cure = "", code = "", lang }, status = 0) {
    super(cause);
    this.name = "ApiError";
    this.parts = { cause, consequence, cure, lang };
    this.code = code;
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

// The server speaks English; in another language errors whose code is known are worded here.
function worded(error) {
  const known = `error.${error.code}`;
  return has(known) ? { code: error.code, cause: t(known) } : { ...error, lang: "en" };
}

async function errorOf(answer) {
  try {
    const { error } = await answer.json();
    if (error?.cause) return new ApiError(worded(error), answer.status);
  } catch {
    // Not the server's own words: a proxy's page, say.
  }
  return new ApiError(
    {
      cause: t("server.status", { status: String(answer.status) }),
      consequence: t("server.status.consequence"),
      cure: t("server.status.cure"),
    },
    answer.status,
  );
}

// Headers carry either seconds or a date; only the first is worth waiting for.
function secondsToWait(answer) {
  const seconds = Number(answer.headers.get("Retry-After") ?? 1);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds : 1;
}

// As fetch, which cannot tell how much of a body has travelled; `progress(share)` is told.
function sent(path, { method, body, signal, progress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = () => {
      request.abort();
      reject(signal.reason);
    };
    request.open(method, path);
    request.upload.addEventListener("progress", ({ loaded, total }) => progress(loaded / total));
    request.addEventListener("load", () => {
      const wait = request.getResponseHeader("Retry-After");
      const headers = wait === null ? {} : { "Retry-After": wait };
      resolve(new Response(request.responseText, { status: request.status, headers }));
    });
    request.addEventListener("error", () => reject(new TypeError()));
    if (signal?.aborted) return stop();
    signal?.addEventListener("abort", stop, { once: true });
    request.send(body);
    return undefined;
  });
}

// `waiting(seconds, attempt, of, error)` is told when a busy server is asked again later;
// `progress(share)` how much of the body was sent; `as` names what the answer is read as.
export async function call(path, { signal, waiting, progress, as = "json", ...options } = {}) {
  for (let attempt = 1; ; attempt += 1) {
    let answer;
    try {
      answer = progress
        ? await sent(path, { ...options, signal, progress })
        : await fetch(path, { ...options, signal });
      if (answer.ok) return await answer[as]();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError({
        cause: t("server.unreachable"),
        consequence: t("server.unreachable.consequence"),
        cure: t("server.unreachable.cure"),
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

function addFilters(form, state) {
  for (const condition of state.where) form.append("where", condition);
  const filter = filterOf(state);
  if (filter) form.append("filter", filter);
}

export function items(state, { after, limit }, options) {
  const asked = new URLSearchParams({ limit });
  if (after) asked.set("after", after);
  if (state.text) asked.set("text", state.text);
  if (state.sort) asked.set("sort", state.sort);
  addFilters(asked, state);
  return call(`api/items?${asked}`, options);
}

export function itemsById(ids, options) {
  const asked = new URLSearchParams();
  for (const id of ids) asked.append("id", id);
  return call(`api/items?${asked}`, options);
}

// The pictures whose column has this value.
export function itemsWith(column, value, limit, options) {
  return call(`api/items?${new URLSearchParams({ limit, where: `${column}=${value}` })}`, options);
}

export function values(column, text, state, options) {
  const asked = new URLSearchParams({ column });
  if (text) asked.set("text", text);
  if (state.text) asked.set("items", state.text);
  addFilters(asked, state);
  return call(`api/values?${asked}`, options);
}

export function search(state, file, { offset = 0, k = state.k, ...options }) {
  const form = new FormData();
  if (file) form.set("image", file, file.name || "picture");
  else if (state.query) form.set("query", state.query);
  else form.set("id", state.id);
  if (state.box) form.set("box", state.box);
  form.set("k", k);
  form.set("metric", state.metric);
  if (offset) form.set("offset", offset);
  if (state.group) form.set("group_by", state.group);
  addFilters(form, state);
  return call("api/search", { ...options, method: "POST", body: form });
}

// What the server takes an address for: an item of the catalogue, or a picture that it has fetched
// and keeps.
export function searchAddress(url, options) {
  return call("api/search", { ...options, method: "POST", body: new URLSearchParams({ url, k: 1 }) });
}

export function duplicates(offset, limit, options) {
  return call(`api/duplicates?${new URLSearchParams({ offset, limit })}`, options);
}

export const lookForDuplicates = (options) => call("api/duplicates", { ...options, method: "POST" });

// CSV of these items, as a Blob.
export function exported(ids, options) {
  return call("api/export", {
    ...options,
    as: "blob",
    method: "POST",
    body: new URLSearchParams(ids.map((id) => ["ids", id])),
  });
}

export function thumbnail(picture, size) {
  return `api/thumbnails?${new URLSearchParams({ ...picture, size })}`;
}

export const original = (id) => `api/items/${encodeURIComponent(id)}/picture?download`;
