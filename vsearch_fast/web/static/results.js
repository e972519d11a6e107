// The matches: one grid that goes on, or a short one for each distance side by side.

import { card } from "./card.js";
import { byId, element, say } from "./dom.js";
import { Feed } from "./feed.js";
import { t } from "./i18n.js";
import { inOrder, distance, metricName, milliseconds } from "./words.js";

export const NEXT = 48; // matches of the pages after the first

function note(title, text, ...more) {
  return element("div", { class: "note" }, element("p", {}, element("strong", {}, title), ` ${text}`), ...more);
}

// The same item in the other columns shows where each distance ranks it.
function showSame(region, id) {
  for (const other of region.querySelectorAll("li.same")) other.classList.remove("same");
  if (!id) return;
  for (const other of region.querySelectorAll("li[data-id]")) {
    if (other.dataset.id === id) other.classList.add("same");
  }
}

export class Results {
  // `load(offset, signal)`: {items, next}; `clear()`: the filters.
  constructor({ deck, load, failed, clear, grew }) {
    this.deck = deck;
    this.clearFilters = clear;
    this.region = byId("results");
    this.list = element("div");
    this.feed = new Feed(this.list, { make: (item) => card(item, deck, true), load, failed, grew });
    for (const kind of ["pointerover", "focusin"]) {
      this.region.addEventListener(kind, (event) => {
        if (this.several) showSame(this.region, event.target.closest("li")?.dataset.id);
      });
    }
    this.region.addEventListener("pointerleave", () => showSame(this.region, null));
  }

  busy(whether) {
    byId("matches").setAttribute("aria-busy", String(whether));
  }

  // `among`: what was searched, in words; `k`: how many were asked for; `filtered`: whether filters
  // are at work.
  show(answer, { among, k, filtered }) {
    const order = inOrder(answer.results.map(({ metric }) => metric));
    const results = order.map((metric) => answer.results.find((each) => each.metric === metric));
    this.several = results.length > 1;
    this.results = results;
    this.region.className = this.several ? "sides" : "";
    if (this.several) {
      this.feed.clear();
      this.region.replaceChildren(...results.map((result) => this.column(result)));
    } else {
      this.region.replaceChildren(this.list);
      const { matches } = results[0];
      this.feed.start({ items: matches, next: matches.length === k ? k : null }, 0);
    }
    const { matches } = results[0];
    const alike = matches.filter(({ label }) => label === "same item").length;
    const parts = [t("summary", { among })];
    if (alike && !this.several) parts.unshift(t("summary.same", { n: alike }));
    byId("summary").textContent = parts.join(" · ");
    byId("measured").textContent = [
      ...results.filter((each) => each.matches.length).map((each) =>
        t("figures.nearest", { metric: metricName(each.metric), distance: distance(each.matches[0].distance) })),
      ...Object.entries(answer.milliseconds ?? {}).map(([step, value]) => `${t(`time.${step}`)} ${milliseconds(value)}`),
    ].join(" · ");
    byId("note").replaceChildren(...this.notes(results, filtered));
    say(byId("status"), t("found", { n: matches.length, among }));
  }

  notes(results, filtered) {
    if (results.every(({ matches }) => !matches.length)) {
      if (!filtered) return [note(t("empty.matches"), t("empty.matches.cure"))];
      const clear = element("button", { type: "button", class: "button", click: () => this.clearFilters() }, t("filters.clear"));
      return [note(t("empty.filters"), t("empty.filters.cure"), clear)];
    }
    const far = results.filter((result) => result.nothing_similar && result.matches.length);
    return far.map((result) =>
      note(this.several ? t("far.by", { metric: metricName(result.metric) }) : t("far"), t("far.more")));
  }

  column(result) {
    const [first] = result.matches;
    const name = metricName(result.metric);
    return element(
      "section",
      { class: "side", "aria-label": name },
      element("h3", {}, name),
      element("p", { class: "summary" }, first ? t("figures.first", { distance: distance(first.distance) }) : t("empty.matches")),
      element("ol", { class: "grid", role: "list" }, ...result.matches.map((match) => card(match, this.deck, true))),
    );
  }

  // The items in the order in which they are shown, for the details' previous and next.
  get items() {
    return this.several ? this.results[0].matches : this.feed.items;
  }

  clear() {
    this.feed.clear();
    this.region.replaceChildren();
    byId("summary").textContent = "";
    byId("note").replaceChildren();
  }
}
