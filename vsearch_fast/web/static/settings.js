// The distance and the amount: controls for who looks into the figures.

import { byId, element } from "./dom.js";
import { t } from "./i18n.js";
import { stored, store } from "./storage.js";
import { inOrder, metricName } from "./words.js";

const AMOUNTS = [12, 24, 48];
const OPEN = "vsearch-figures";

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

export class Settings {
  constructor(catalogue, wish) {
    this.catalogue = catalogue;
    byId("metric-choices").replaceChildren(
      ...inOrder(catalogue.metrics).map((metric) => metricChoice(metric, metricName(metric), wish)),
      metricChoice("all", t("metric.all"), wish),
    );
    this.amount = byId("k");
    this.amounts = AMOUNTS.filter((amount) => amount <= catalogue.limits.k);
    this.amount.addEventListener("change", () => wish({ k: Number(this.amount.value) }));
    // Figures stand on the cards as long as this is open.
    this.panel = byId("figures");
    this.panel.addEventListener("toggle", () => {
      document.body.classList.toggle("with-figures", this.panel.open);
      store("localStorage", OPEN, this.panel.open ? "open" : null);
    });
    this.panel.open = stored("localStorage", OPEN) === "open";
  }

  show(state) {
    if (state.metric !== this.catalogue.default_metric) this.panel.open = true;
    for (const choice of document.querySelectorAll("input[name=metric]")) {
      choice.checked = choice.value === state.metric;
    }
    // A link may ask for a number that is not among the choices.
    const amounts = [...new Set([...this.amounts, state.k])].sort((a, b) => a - b);
    this.amount.replaceChildren(...amounts.map((k) => element("option", { value: k }, `${k}`)));
    this.amount.value = String(state.k);
  }
}
