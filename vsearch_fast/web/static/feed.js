// A grid that goes on as it is scrolled, with bounded memory.
//
// It is made of chunks, a page of the server each. Chunks far from the screen keep their height and
// lose their cards; those farther still lose their items, too, and are asked for again by the
// cursor that they began with.

import { ApiError } from "./api.js";
import { element } from "./dom.js";
import { t } from "./i18n.js";

const NEAR = "1500px 0px"; // beyond the screen where chunks have their cards
const AHEAD = "900px 0px"; // where the next page is asked for
const KEPT = 40; // chunks whose items are remembered

export class Feed {
  // `make(item)`: a card; `load(cursor, signal)`: {items, next}, next null at the end;
  // `failed(error, again)`; `grew()`: after each page that came.
  constructor(region, { make, load, failed, grew = () => {} }) {
    Object.assign(this, { region, make, load, failed, grew });
    this.near = new IntersectionObserver((seen) => this.seen(seen), { rootMargin: NEAR });
    this.more = element("button", { type: "button", class: "button more", click: () => this.further() }, t("more"));
    new IntersectionObserver(
      ([{ isIntersecting }]) => {
        this.atEnd = isIntersecting;
        if (isIntersecting) this.further();
      },
      { rootMargin: AHEAD },
    ).observe(this.more);
    this.clear();
  }

  clear() {
    this.request?.abort();
    this.request = null;
    this.near.disconnect();
    this.chunks = [];
    this.next = null;
    this.count = 0;
    this.region.replaceChildren(this.more);
    this.more.hidden = true;
  }

  // Begin with a page that is here already; `cursor` is what it was asked for by.
  start(page, cursor = null) {
    this.clear();
    this.add(page, cursor);
  }

  add({ items, next }, cursor) {
    const list = element("ol", { class: "grid", role: "list" });
    const chunk = { list, cursor, items, known: items.map(({ id }) => id), first: this.count };
    this.count += items.length;
    this.next = items.length ? next : null;
    this.chunks.push(chunk);
    this.more.before(list);
    this.fill(chunk);
    this.near.observe(list);
    this.more.hidden = this.next === null;
    this.grew();
  }

  fill(chunk) {
    if (chunk.list.firstChild || !chunk.items) return;
    chunk.list.replaceChildren(
      ...chunk.items.map((item, place) => {
        const made = this.make(item);
        made.setAttribute("aria-posinset", chunk.first + place + 1);
        made.setAttribute("aria-setsize", this.next === null ? this.count : -1);
        return made;
      }),
    );
    chunk.list.style.height = "";
  }

  empty(chunk) {
    if (!chunk.list.firstChild || chunk.list.contains(document.activeElement)) return;
    chunk.list.style.height = `${chunk.list.offsetHeight}px`;
    chunk.list.replaceChildren();
  }

  seen(entries) {
    for (const { target, isIntersecting } of entries) {
      const chunk = this.chunks.find(({ list }) => list === target);
      // A grid of another view that is not displayed has no height to keep.
      if (!chunk || !target.getClientRects().length) continue;
      if (!isIntersecting) this.empty(chunk);
      else if (chunk.items) this.fill(chunk);
      else this.again(chunk);
    }
    this.forget();
  }

  // The items of the chunks farthest from those that are shown.
  forget() {
    const held = this.chunks.filter(({ items }) => items);
    if (held.length <= KEPT) return;
    const shown = this.chunks.findIndex(({ list }) => list.firstChild);
    const far = held
      .filter(({ list }) => !list.firstChild)
      .sort((a, b) => Math.abs(this.chunks.indexOf(b) - shown) - Math.abs(this.chunks.indexOf(a) - shown));
    for (const chunk of far.slice(0, held.length - KEPT)) chunk.items = null;
  }

  async again(chunk) {
    if (chunk.loading) return;
    chunk.loading = true;
    try {
      const { items } = await this.load(chunk.cursor, undefined);
      if (!this.chunks.includes(chunk)) return;
      chunk.items = items;
      this.fill(chunk);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.failed(error, () => this.again(chunk));
    } finally {
      chunk.loading = false;
    }
  }

  // The next page, unless it is on its way already.
  async further() {
    if (this.next === null || this.request) return;
    const request = new AbortController();
    const cursor = this.next;
    this.request = request;
    this.region.setAttribute("aria-busy", "true");
    try {
      const page = await this.load(cursor, request.signal);
      if (this.request !== request) return;
      this.request = null;
      // A server that knows no offset would send the first page again, for ever.
      const again = page.items.length && this.chunks.some(({ known }) => known[0] === page.items[0].id);
      if (again) this.end();
      else this.add(page, cursor);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.request = null;
      this.failed(error, () => this.further());
      return;
    } finally {
      if (!this.request) this.region.removeAttribute("aria-busy");
    }
    // Still in sight after a short page: the observer tells of changes alone.
    if (this.atEnd) requestAnimationFrame(() => this.atEnd && this.further());
  }

  end() {
    this.next = null;
    this.more.hidden = true;
  }

  // The items that are known, in order, from where they are remembered.
  get items() {
    return this.chunks.flatMap(({ items }) => items ?? []);
  }
}
