// Metric, number of matches and filters: controls that show a state and tell of wishes.

import { byId, element } from "./dom.js";
import { count, inOrder, metricName } from "./words.js";

const AMOUNTS = [12, 24, 48];

function metricChoice(value, text, wish) {
  return element(
    "label",
    { class: "segment" },
    element("input", {
      type: "radio",
      name: "metric",
      value,
      class: "visually-hidden",
      change: () => wish({ metric: value }),
    }),
    element("span", {}, text),
  );
}

function valuesIn(where, column) {
  return where
    .filter((condition) => condition.startsWith(`${column}=`))
    .map((condition) => condition.slice(column.length + 1));
}

export class Settings {
  constructor(catalogue, wish) {
    this.columns = catalogue.columns;
    this.wish = wish;
    byId("settings").addEventListener("submit", (event) => event.preventDefault());
    const metrics = inOrder(catalogue.metrics);
    byId("metric-choices").replaceChildren(
      ...metrics.map((metric) => metricChoice(metric, metricName(metric), wish)),
      metricChoice("all", "All, side by side", wish),
    );
    this.amount = byId("k");
    this.amounts = AMOUNTS.filter((amount) => amount <= catalogue.limits.k);
    this.amount.addEventListener("change", () => wish({ k: Number(this.amount.value) }));
    // The category is what most people filter by; the rest would push the matches off a phone.
    const [first, ...others] = this.columns.map((column) => this.filter(column));
    if (first) byId("first-filter").replaceChildren(first);
    byId("more-filters").hidden = !others.length;
    byId("filter-choices").replaceChildren(...others);
  }

  filter({ name, values }) {
    const id = `filter-${name}`;
    const select = element(
      "select",
      { id, "data-column": name },
      element("option", { value: "" }, "Any"),
      ...values.map(({ value, count: pictures }) =>
        element("option", { value: `${name}=${value}` }, `${value} (${count(pictures)})`),
      ),
    );
    select.addEventListener("change", () => {
      const others = this.state.where.filter((condition) => !condition.startsWith(`${name}=`));
      this.wish({ where: select.value ? [...others, select.value] : others });
    });
    return element("div", { class: "field" }, element("label", { for: id }, name), select);
  }

  show(state) {
    this.state = state;
    for (const choice of document.querySelectorAll("input[name=metric]")) {
      choice.checked = choice.value === state.metric;
    }
    // A link may ask for a number that is not among the choices.
    const amounts = [...new Set([...this.amounts, state.k])].sort((a, b) => a - b);
    this.amount.replaceChildren(...amounts.map((k) => element("option", { value: k }, `${k}`)));
    this.amount.value = String(state.k);
    for (const { name } of this.columns) this.showFilter(name, state.where);
    // A filter that is at work must be seen.
    if (byId("filter-choices").querySelector("select[data-active]")) byId("more-filters").open = true;
  }

  showFilter(name, where) {
    const select = byId(`filter-${name}`);
    select.querySelector("option[data-linked]")?.remove();
    const chosen = valuesIn(where, name);
    const conditions = chosen.map((value) => `${name}=${value}`);
    select.value = conditions[0] ?? "";
    // Links can ask for several values of a column, or for one that is not listed.
    if (chosen.length > 1 || (chosen.length && select.selectedIndex < 0)) {
      const option = element("option", { "data-linked": true, value: conditions[0] }, chosen.join(" or "));
      select.prepend(option);
      select.selectedIndex = 0;
    }
    select.toggleAttribute("data-active", chosen.length > 0);
  }
}
