// Groups of pictures that are copies of each other: which to keep, which to list for removal.

import * as api from "./api.js";
import { going, picture } from "./card.js";
import { byId, element } from "./dom.js";
import { t } from "./i18n.js";
import { alternative, describe } from "./words.js";

const PAGE = 50; // groups that are asked for at once
const AGAIN = 700; // milliseconds between two looks at a search that runs

export class Duplicates {
  constructor({ deck, failed }) {
    this.deck = deck;
    this.failed = failed;
    this.groups = []; // that are drawn
    this.region = byId("duplicate-groups");
    byId("look").addEventListener("click", () => this.look(true));
  }

  get items() {
    return this.groups.flatMap(({ items }) => items);
  }

  // Those that are copies of a better one.
  get ids() {
    return this.groups.flatMap(({ items }) => items.slice(1).map(({ id }) => id));
  }

  // What was found before, by whomever; a search takes its time, and begins when it is asked for.
  show() {
    return this.groups.length ? undefined : this.look(false);
  }

  async look(anew) {
    clearTimeout(this.later);
    byId("look").disabled = true;
    try {
      const answer = anew ? await api.lookForDuplicates() : await api.duplicates(0, PAGE);
      this.told(answer);
    } catch (error) {
      byId("look").disabled = false;
      this.failed(error, () => this.look(anew));
    }
  }

  told(answer) {
    const { state, done, total, groups_in_all: groups, copies } = answer;
    byId("look").disabled = state === "running";
    const words = {
      none: () => "",
      running: () => t("duplicates.looking", { n: total ? Math.floor((100 * done) / total) : 0 }),
      done: () => (groups ? t("duplicates.found", { n: copies, groups }) : t("duplicates.none")),
      failed: () => answer.error,
    };
    byId("duplicates-summary").textContent = words[state]();
    if (state === "running") this.later = setTimeout(() => this.look(false), AGAIN);
    if (state === "done") this.draw(answer);
  }

  draw({ groups, groups_in_all: all }) {
    this.groups = groups;
    this.region.replaceChildren(...groups.map((group) => this.group(group)));
    this.rest(all);
  }

  rest(all) {
    if (this.groups.length >= all) return;
    const more = element("button", {
      type: "button", class: "button more",
      click: async () => {
        try {
          const { groups } = await api.duplicates(this.groups.length, PAGE);
          more.remove();
          this.groups.push(...groups);
          this.region.append(...groups.map((group) => this.group(group)));
          this.rest(groups.length ? all : 0);
        } catch (error) {
          this.failed(error, () => more.click());
        }
      },
    }, t("more"));
    this.region.append(more);
  }

  group({ items }) {
    const name = describe(items[0]).title;
    const pickAll = element(
      "button",
      { type: "button", class: "button", click: () => this.deck.pickAll(items.slice(1).map(({ id }) => id)) },
      t("duplicates.pick", { n: items.length - 1 }),
      element("span", { class: "visually-hidden" }, ` ${t("duplicates.of", { name: items[0].id })}`),
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
          t(best ? "duplicates.best" : `duplicates.${item.kind}`))),
        element("p", { class: "fields" }, facts.filter(Boolean).join(" · ")),
        element("label", { class: "pick" }, pick),
      ),
    );
  }
}
