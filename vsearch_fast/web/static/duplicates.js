// Groups of pictures that are copies of each other: which to keep, which to list for removal.

import * as api from "./api.js";
import { going, picture } from "./card.js";
import { byId, element } from "./dom.js";
import { count, t } from "./i18n.js";
import { alternative, describe } from "./words.js";

const FIRST = 60; // groups that are drawn at once

export class Duplicates {
  constructor({ deck, failed }) {
    this.deck = deck;
    this.failed = failed;
    this.groups = null;
  }

  get ids() {
    return (this.groups ?? []).flatMap(({ items }) => items.slice(1).map(({ id }) => id));
  }

  async show() {
    if (this.groups) return;
    const region = byId("duplicate-groups");
    byId("duplicates-summary").textContent = t("duplicates.looking");
    region.setAttribute("aria-busy", "true");
    try {
      const answer = await api.duplicates();
      this.groups = answer.groups;
      this.draw(answer);
    } catch (error) {
      byId("duplicates-summary").textContent = "";
      this.failed(error, () => this.show());
    } finally {
      region.removeAttribute("aria-busy");
    }
  }

  draw() {
    const copies = this.ids.length;
    byId("duplicates-summary").textContent = this.groups.length
      ? t("duplicates.found", { n: copies, groups: count(this.groups.length) })
      : t("duplicates.none");
    this.more(0);
  }

  more(from) {
    const region = byId("duplicate-groups");
    const shown = this.groups.slice(from, from + FIRST).map((group) => this.group(group));
    if (from) region.lastChild.remove();
    if (from) region.append(...shown);
    else region.replaceChildren(...shown);
    const rest = this.groups.length - from - FIRST;
    if (rest > 0) {
      region.append(element("button", { type: "button", class: "button more", click: () => this.more(from + FIRST) }, t("more")));
    }
  }

  group({ items }) {
    const name = describe(items[0]).title;
    const pickAll = element(
      "button",
      { type: "button", class: "button", click: () => this.deck.pickAll(items.slice(1).map(({ id }) => id)) },
      t("duplicates.pick", { n: items.length - 1 }),
      element("span", { class: "visually-hidden" }, ` ${items[0].id}`),
    );
    return element(
      "section",
      { class: "copies", "aria-label": alternative(items[0]) },
      element("div", { class: "catalogue-top" }, element("h3", {}, name), pickAll),
      element("ul", { class: "grid" }, ...items.map((item, place) => this.copy(item, place === 0))),
    );
  }

  copy(item, best) {
    const pick = element("input", {
      type: "checkbox", "aria-label": t("select", { name: item.id }),
      change: () => this.deck.pick(item.id, pick.checked),
    });
    pick.checked = this.deck.picked(item.id);
    const facts = [item.width && `${item.width} × ${item.height}`, item.bytes && t("bytes", { n: item.bytes })];
    return element(
      "li",
      { "data-id": item.id },
      element(
        "article",
        { class: "card" },
        element("a", { class: "open", href: this.deck.detailLink(item.id), click: going(() => this.deck.open(item)) },
          picture({ id: item.id }, ""),
          element("span", { class: "id" }, item.id)),
        element("p", {}, element("span", { class: best ? "label same-item" : "label" },
          t(best ? "duplicates.best" : item.kind ? `duplicates.${item.kind}` : "duplicates.copy"))),
        element("p", { class: "fields" }, facts.filter(Boolean).join(" · ")),
        element("label", { class: "pick" }, pick),
      ),
    );
  }
}
