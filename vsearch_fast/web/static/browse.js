// The grid "Pictures of the catalogue", page by page.

import { items } from "./api.js";
import { card } from "./card.js";
import { byId, say } from "./dom.js";
import { plural } from "./words.js";

const PAGE = 48;

export class Browse {
  constructor({ linkTo, choose, failed }) {
    Object.assign(this, { linkTo, choose, failed });
    this.list = byId("items");
    this.more = byId("more");
    this.shown = null; // the filter of what the list holds
    this.next = null;
    this.more.addEventListener("click", () => this.load(true));
  }

  async show(where) {
    const asked = JSON.stringify(where);
    if (asked === this.shown) {
      // Coming back must not lose the pages already loaded; other settings change their links.
      for (const { dataset, firstChild } of this.list.children) firstChild.href = this.linkTo(dataset.id);
      return;
    }
    this.where = where;
    this.shown = asked;
    this.next = null;
    await this.load(false);
  }

  async load(further) {
    this.request?.abort();
    const request = new AbortController();
    this.request = request;
    this.list.setAttribute("aria-busy", "true");
    this.more.disabled = true;
    try {
      const page = await items(
        { where: this.where, limit: PAGE, after: further ? this.next : undefined },
        { signal: request.signal },
      );
      this.add(page, further);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!further) this.shown = null; // so that it is asked for again
      this.failed(error, () => this.load(further));
    } finally {
      if (this.request === request) {
        this.list.removeAttribute("aria-busy");
        this.more.disabled = false;
      }
    }
  }

  add(page, further) {
    const cards = page.items.map((item) =>
      card(item, { link: this.linkTo(item.id), choose: this.choose }),
    );
    if (further) this.list.append(...cards);
    else this.list.replaceChildren(...cards);
    this.next = page.next;
    this.shown = JSON.stringify(this.where);
    this.more.hidden = !page.next;
    byId("no-items").hidden = this.list.children.length > 0;
    if (further) {
      // The button moved away under the keyboard: go on where the new pictures begin.
      cards[0]?.querySelector("a").focus();
      say(byId("status"), `${plural(this.list.children.length, "picture", "pictures")} shown`);
    }
  }
}
