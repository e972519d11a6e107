// The pictures of the catalogue: all, or those that the filters and the words leave, in an order.

import { items } from "./api.js";
import { card } from "./card.js";
import { byId, element, say } from "./dom.js";
import { Feed } from "./feed.js";
import { t } from "./i18n.js";
import { filterOf, isFiltered } from "./state.js";
import { pictures } from "./words.js";

const PAGE = 48;

export class Browse {
  constructor({ deck, catalogue, failed, clear, grew }) {
    Object.assign(this, { catalogue, failed, clear });
    this.shown = null; // what the list holds, in words of the request
    this.feed = new Feed(byId("items"), {
      make: (item) => card(item, deck),
      load: (after, signal) => items(this.state, { after, limit: PAGE }, { signal }),
      failed,
      grew,
    });
  }

  // Coming back must not lose the pages already loaded.
  async show(state) {
    const asked = JSON.stringify([state.where, filterOf(state), state.text, state.sort]);
    if (asked === this.shown) return;
    this.state = state;
    this.shown = asked;
    this.request?.abort();
    const request = new AbortController();
    this.request = request;
    byId("items").setAttribute("aria-busy", "true");
    try {
      const page = await items(state, { limit: PAGE }, { signal: request.signal });
      this.feed.start(page);
      this.told(page);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.shown = null; // so that it is asked for again
      this.failed(error, () => this.show(state));
    } finally {
      if (this.request === request) byId("items").removeAttribute("aria-busy");
    }
  }

  told({ items: found, total, next }) {
    const many = total ?? (next ? null : found.length);
    byId("total").textContent = many === null ? "" : pictures(many);
    if (many !== null) say(byId("status"), pictures(many));
    const region = byId("no-items");
    region.hidden = found.length > 0;
    if (!found.length) region.replaceChildren(...this.nothing());
  }

  nothing() {
    const { text } = this.state;
    if (!this.catalogue.pictures) {
      return [element("h3", {}, t("empty.catalogue")), element("p", {}, t("empty.catalogue.cure"))];
    }
    const why = text ? t("empty.text", { text }) : t("empty.filters");
    const cure = text && !isFiltered(this.state) ? "empty.text.cure" : "empty.filters.cure";
    return [
      element("h3", {}, why),
      element("p", {}, t(cure)),
      element("button", { type: "button", class: "button", click: () => this.clear() }, t("filters.clear")),
    ];
  }
}

// The orders on offer: as added, and by the columns that can be compared.
export function offerSorts(columns, change) {
  const select = byId("sort");
  const usable = columns.filter(({ kind }) => kind === "number" || kind === "text");
  const option = (value, text) => element("option", { value }, text);
  select.replaceChildren(
    option("", t("sort.added")),
    ...usable.flatMap(({ name, kind }) => [
      option(name, t(`sort.${kind}.up`, { name })),
      option(`-${name}`, t(`sort.${kind}.down`, { name })),
    ]),
  );
  select.addEventListener("change", () => change(select.value));
}

export function showSort(sort) {
  const select = byId("sort");
  // A link may ask for an order that is not on offer.
  if (sort && ![...select.options].some(({ value }) => value === sort)) {
    select.append(element("option", { value: sort }, sort));
  }
  select.value = sort;
}
