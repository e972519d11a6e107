// The details of an item over the page: its picture beside the query's, all fields by their names,
// its product page, the pictures of the same item, and the ways on.

import { itemsWith, original, thumbnail } from "./api.js";
import { going, picture } from "./card.js";
import { byId, element } from "./dom.js";
import { t } from "./i18n.js";
import { alternative, describe, figures, label, metricName, THINGS } from "./words.js";

const OTHERS = 24;

function large(source, alt, caption) {
  const image = element("img", { alt, src: typeof source === "string" ? source : thumbnail(source, 1024) });
  const figure = element("figure", {}, image, element("figcaption", {}, caption));
  image.addEventListener("error", () => image.replaceWith(element("p", { class: "missing" }, t("picture.gone"))));
  return figure;
}

export class Detail {
  // `neighbour(id, step)`: the item before or after in what is shown, or none; `go(item)`: show
  // another one in place; `open(item)`: one beside them; `closed()`: the person is done;
  // `search(item)`; `searchLink(id)`; `query()`: the query's picture and what it is called, or null;
  // `deck`: the selection.
  constructor(ways) {
    Object.assign(this, ways);
    this.dialog = byId("detail");
    byId("detail-close").addEventListener("click", () => this.closed());
    // Escape closes through the address as well, so that forward opens it again.
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.closed();
    });
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.closed(); // beside the content
    });
    for (const [name, step] of [["previous", -1], ["next", 1]]) {
      byId(`detail-${name}`).addEventListener("click", () => this.step(step));
    }
    this.dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || event.target.closest("input, summary") || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.step(step);
    });
  }

  step(by) {
    const other = this.neighbour(this.item.id, by);
    if (other) this.go(other);
  }

  // `metric`: by which the item was found, or none.
  show(item, metric) {
    this.item = item;
    const { title, price, priceName, link, fields } = describe(item, true);
    byId("detail-title").textContent = title;
    const query = this.query();
    const called = label(item);
    byId("detail-body").replaceChildren(
      element(
        "div",
        { class: query ? "pair" : "pair single" },
        large({ id: item.id }, alternative(item), t("detail.item")),
        query ? large(query.source, t("query.alt", { name: query.name }), t("query.title")) : null,
      ),
      element(
        "div",
        { class: "facts" },
        price ? element("p", { class: "price" }, element("span", { class: "visually-hidden" }, `${priceName} `), price) : null,
        called ? element("p", {}, element("span", { class: `label ${item.label.replaceAll(" ", "-")}` }, called)) : null,
        element(
          "div",
          { class: "buttons" },
          link ? element("a", { class: "button primary", href: link, target: "_blank", rel: "noopener noreferrer", id: "product" }, t("detail.link")) : null,
          element("a", { class: link ? "button" : "button primary", href: this.searchLink(item.id), click: going(() => this.search(item)) }, t("detail.search")),
          element("a", { class: "button", href: original(item.id), download: "" }, t("detail.download")),
        ),
        element(
          "dl",
          {},
          ...[{ name: "id", value: item.id }, ...fields].map(({ name, value }) =>
            element("div", {}, element("dt", {}, name), element("dd", {}, value)),
          ),
        ),
        item.distance === undefined
          ? null
          : element("details", {}, element("summary", {}, t("figures.title")),
              element("p", {}, `${metricName(metric)}: ${figures(item)}`)),
        this.others(item),
      ),
    );
    this.around();
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
  }

  // The buttons know whether there is something on either side.
  around() {
    if (!this.item) return;
    for (const [name, step] of [["previous", -1], ["next", 1]]) {
      byId(`detail-${name}`).disabled = !this.neighbour(this.item.id, step);
    }
  }

  // Other pictures of the same thing; they may come later, or never.
  others(item) {
    const region = element("section", { class: "others", hidden: true });
    const column = THINGS.find((name) => typeof item.metadata?.[name] === "string");
    if (!column) return region;
    itemsWith(column, item.metadata[column], OTHERS, {}).then(
      ({ items }) => {
        const others = items.filter(({ id }) => id !== item.id);
        if (!others.length || this.item !== item) return;
        region.hidden = false;
        region.append(
          element("h3", {}, t("detail.others", { n: others.length })),
          element("ul", {}, ...others.map((other) =>
            element("li", {}, element(
              "a",
              { href: this.link(other.id), click: going(() => this.go(other)) },
              picture({ id: other.id }, alternative(other), 112),
            )),
          )),
        );
      },
      () => {}, // the item itself is shown all the same
    );
    return region;
  }

  hide() {
    this.item = null;
    if (this.dialog.open) this.dialog.close();
  }
}
