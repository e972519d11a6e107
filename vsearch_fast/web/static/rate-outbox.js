// Answers on their way to the server: sent in order, one at a time, until each is acknowledged.
//
// They are kept in the browser's storage meanwhile, so that neither a lost connection nor a closed
// page loses one. The server stores an answer once however often it is sent, and undoes a numbered
// task only while that is the last one, so sending again does no harm.

import { call } from "./api.js";
import { store, stored } from "./storage.js";

const STORED = "vsearch-rate-outbox"; // and whose it is
const WAITS = [1, 2, 4, 8, 15]; // seconds before another attempt

export function post(path, body) {
  return call(`api/rate/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    // A request that hangs would hold back all that follow it.
    signal: AbortSignal.timeout(20_000),
  });
}

export class Outbox {
  // `acknowledged(progress)` after each answer that arrived; `waiting(count, error, retry)` when
  // one has to be sent again, and with 0 when all have arrived; `refused(error)` when the server
  // will never take it.
  constructor({ study, nickname, acknowledged, waiting, refused }) {
    this.place = `${STORED} ${study} ${nickname}`;
    this.nickname = nickname;
    this.heard = { acknowledged, waiting, refused };
    this.sending = false;
    this.added = 0; // answers given here so far
    this.failures = 0;
    this.closed = false;
    this.queue = this.left();
    this.again = () => this.wake?.();
    window.addEventListener("online", this.again);
  }

  // What an earlier visit of this rater to this study could not send.
  left() {
    try {
      const kept = JSON.parse(stored("localStorage", this.place) ?? "[]");
      return Array.isArray(kept) ? kept : [];
    } catch {
      return [];
    }
  }

  keep() {
    store("localStorage", this.place, this.queue.length ? JSON.stringify(this.queue) : null);
  }

  get empty() {
    return this.queue.length === 0;
  }

  add(path, body) {
    this.added += 1;
    this.queue.push({ path, body });
    this.keep();
    this.send();
  }

  close() {
    this.closed = true;
    window.removeEventListener("online", this.again);
    this.wake?.();
  }

  async send() {
    if (this.sending) return;
    this.sending = true;
    while (this.queue.length && !this.closed) {
      const { path, body } = this.queue[0];
      try {
        const progress = await post(path, { nickname: this.nickname, ...body });
        if (this.closed) break;
        this.queue.shift();
        this.keep();
        if (this.failures) this.heard.waiting(this.queue.length, null);
        this.failures = 0;
        this.heard.acknowledged(progress);
      } catch (error) {
        if (this.closed) break;
        const passing = error.passing ?? true; // no ApiError: it was given up after its time
        if (!passing) {
          this.queue = [];
          this.keep();
          this.failures = 0;
          this.heard.waiting(0, null);
          this.heard.refused(error);
          break;
        }
        const seconds = WAITS[Math.min(this.failures, WAITS.length - 1)];
        this.failures += 1;
        this.heard.waiting(this.queue.length, error, this.again);
        await this.pause(seconds);
      }
    }
    this.sending = false;
  }

  pause(seconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
