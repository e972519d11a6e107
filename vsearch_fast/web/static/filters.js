// Filters: a group for each column, of values to tick or of a range; and chips of those at work.
// The counts follow the other filters.

import { ApiError, values as askValues } from "./api.js";
import { byId, element } from "./dom.js";
import { count, t } from "./i18n.js";
import { isFiltered, withoutFilters } from "./state.js";
import { valueText } from "./words.js";

const SHOWN = 8; // values of a column before "all of them"
const FEW = 4; // different numbers that are ticked rather than given as a range
const OPEN = 3; // groups that are open from the start
const REST = 250; // milliseconds without a key before values are searched

const later = (act) => {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, REST);
  };
};

// Where many different numbers stand a range says more than ticks.
const isRange = ({ kind, values }) => kind === "number" && (!values.length || values.length > FEW);

class Group {
  constructor(column, { wish, failed }, open) {
    Object.assign(this, { column, wish, failed });
    this.name = column.name;
    this.all = false;
    this.values = column.values;
    this.active = element("span", { class: "many" });
    this.body = element("div", { class: "group-body" });
    this.element = element(
      "details",
      { class: "group", "data-column": this.name, open },
      element("summary", {}, element("span", { class: "name" }, this.name), " ", this.active),
      this.body,
    );
    this.element.addEventListener("toggle", () => this.element.open && this.state && this.recount());
    if (isRange(column)) this.range();
    else this.ticks();
  }

  range() {
    const field = (side, limit) => {
      const input = element("input", {
        type: "number", step: "any", placeholder: limit, "aria-label": t(`range.${side}`, { name: this.name }),
        inputmode: "decimal", "data-side": side,
        change: () => this.wishRange(),
        keydown: (event) => event.key === "Enter" && this.wishRange(),
      });
      return element("label", {}, t(`range.${side}.short`), input);
    };
    const { min, max } = this.column;
    this.body.append(element("div", { class: "range" }, field("min", min), field("max", max)));
  }

  wishRange() {
    const [min, max] = [...this.body.querySelectorAll("[data-side]")].map((input) => input.value);
    const others = this.state.ranges.filter(({ column }) => column !== this.name);
    const before = this.state.ranges.find(({ column }) => column === this.name);
    // Enter and leaving the field tell of the same wish.
    if (min === (before?.min ?? "") && max === (before?.max ?? "")) return;
    const ranges = min === "" && max === "" ? others : [...others, { column: this.name, min, max }];
    this.wish({ ranges });
  }

  ticks() {
    this.list = element("ul", { class: "ticks" });
    this.rest = element("button", {
      type: "button", class: "link",
      click: () => {
        this.all = true;
        this.draw();
      },
    });
    if (this.values.length > SHOWN || !this.values.length) {
      this.text = element("input", {
        type: "search", class: "within", "aria-label": t("filters.within", { name: this.name }),
        placeholder: t("filters.within", { name: this.name }),
        input: later(() => this.recount()),
      });
    }
    this.body.append(...[this.text, this.list, this.rest].filter(Boolean));
  }

  get chosen() {
    return this.state.where
      .filter((condition) => condition.startsWith(`${this.name}=`))
      .map((condition) => condition.slice(this.name.length + 1));
  }

  show(state) {
    this.state = state;
    const range = state.ranges.find(({ column }) => column === this.name);
    for (const input of this.body.querySelectorAll("[data-side]")) {
      input.value = range?.[input.dataset.side] ?? "";
    }
    const many = range ? 1 : this.chosen.length;
    this.active.textContent = many ? count(many) : "";
    if (many) this.element.open = true;
    if (!this.list) return;
    this.draw();
    if (this.element.open) this.recount();
  }

  // Counts that follow the other columns' filters; where they cannot be had the old ones stay.
  async recount() {
    if (!this.list) return;
    this.request?.abort();
    const text = this.text?.value.trim() ?? "";
    if (!text && !isFiltered(this.state) && !this.state.text && this.column.values.length) {
      this.values = this.column.values;
      this.draw();
      return;
    }
    this.request = new AbortController();
    try {
      const { values } = await askValues(this.name, text, this.state, { signal: this.request.signal });
      this.values = values;
      this.draw();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof ApiError)) throw error;
      if (text) this.failed(error, () => this.recount());
    }
  }

  draw() {
    const had = this.list.contains(document.activeElement) ? document.activeElement.value : null;
    const chosen = this.chosen;
    const listed = new Set(this.values.map(({ value }) => String(value)));
    // A link may ask for a value that is not listed.
    const ticked = ({ value }) => chosen.includes(String(value));
    const known = [
      ...chosen.filter((value) => !listed.has(value)).map((value) => ({ value })),
      ...this.values.filter(ticked),
      ...this.values.filter((each) => !ticked(each)),
    ];
    const shown = this.all ? known : known.filter((each, place) => place < SHOWN || ticked(each));
    this.list.replaceChildren(...shown.map((each) => this.tick(each, chosen)));
    this.rest.hidden = shown.length === known.length;
    this.rest.textContent = t("filters.all", { n: known.length });
    if (!known.length) this.list.append(element("li", { class: "plain" }, t("filters.none")));
    if (had !== null) [...this.list.querySelectorAll("input")].find(({ value }) => value === had)?.focus();
  }

  tick({ value, count: many }, chosen) {
    const text = String(value);
    const input = element("input", {
      type: "checkbox", value: text, checked: chosen.includes(text),
      change: () => {
        const condition = `${this.name}=${text}`;
        const others = this.state.where.filter((each) => each !== condition);
        this.wish({ where: input.checked ? [...others, condition] : others });
      },
    });
    return element(
      "li",
      { class: many === 0 && !input.checked ? "no" : "" },
      element("label", {}, input, element("span", { class: "value" }, valueText(value)),
        many === undefined ? null : element("span", { class: "count" }, count(many))),
    );
  }
}

function rangeText({ column, min, max }) {
  const key = min === "" ? "range.below" : max === "" ? "range.above" : "range.between";
  return t(key, { name: column, min, max });
}

export class Filters {
  // `without`: columns that the words find, and no choice.
  constructor(columns, { wish, failed, without }) {
    this.without = without;
    this.wish = wish;
    this.failed = failed;
    this.panel = byId("filters");
    byId("settings").addEventListener("submit", (event) => event.preventDefault());
    const desk = window.matchMedia("(min-width: 60rem)");
    const fit = () => {
      this.panel.open = desk.matches; // the matches come first on a phone
    };
    desk.addEventListener("change", fit);
    fit();
    this.fill(columns);
  }

  fill(columns) {
    // A condition ends the name at its first "=".
    const usable = columns.filter(({ name, values, ...column }) =>
      !name.includes("=") && !this.without.includes(name) && (values.length > 1 || column.distinct === null || column.distinct > 1));
    // A price or a size is what most people set after the first column; columns of very many
    // values come last.
    const place = (column) => (column === usable[0] ? 0 : isRange(column) ? 1 : column.values.length ? 2 : 3);
    const ordered = usable.toSorted((one, other) => place(one) - place(other));
    this.groups = ordered.map((column, at) => new Group(column, this, at < OPEN));
    this.panel.hidden = !this.groups.length;
    byId("settings").replaceChildren(...this.groups.map((group) => group.element));
    if (this.state) this.show(this.state);
  }

  show(state) {
    this.state = state;
    for (const group of this.groups) group.show(state);
    this.showChips(state);
  }

  showChips(state) {
    const chips = [
      ...state.where.map((condition) => {
        const at = condition.indexOf("=");
        const text = `${condition.slice(0, at)}: ${valueText(condition.slice(at + 1))}`;
        return [text, { where: state.where.filter((each) => each !== condition) }];
      }),
      ...state.ranges.map((range) => [rangeText(range), { ranges: state.ranges.filter((each) => each !== range) }]),
    ];
    if (state.text) chips.unshift([t("chip.text", { text: state.text }), { text: "" }]);
    const region = byId("chips");
    byId("filters-active").textContent = isFiltered(state) ? count(state.where.length + state.ranges.length) : "";
    region.hidden = !chips.length;
    region.replaceChildren(
      ...chips.map(([text, change]) =>
        element("li", {}, element(
          "button",
          { type: "button", class: "chip", click: () => this.wish(change) },
          element("span", { class: "visually-hidden" }, `${t("chip.remove")} `),
          text,
          element("span", { class: "cross", "aria-hidden": "true" }),
        )),
      ),
    );
    if (chips.length > 1) {
      const clear = element("button", { type: "button", class: "link", click: () => this.clear() }, t("filters.clear"));
      region.append(element("li", {}, clear));
    }
  }

  clear() {
    const { where, ranges } = withoutFilters(this.state);
    this.wish({ where, ranges, text: "" });
  }
}
