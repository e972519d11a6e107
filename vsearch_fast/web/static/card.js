// One picture of the catalogue: picture, title, price, closeness in words, fields by their names.

import { thumbnail } from "./api.js";
import { element } from "./dom.js";
import { t } from "./i18n.js";
import { describe, figures, label } from "./words.js";

export function picture(source, alt, size = 224) {
  const frame = element("span", { class: "frame" });
  const image = element("img", { alt, width: size, height: size, loading: "lazy", decoding: "async" });
  // Before src: a picture that is gone may fail at once.
  image.addEventListener("error", () => {
    frame.classList.add("broken");
    image.replaceWith(element("span", { class: "missing" }, t("picture.gone")));
  });
  image.draggable = false; // or it could be dropped on the page as a file of its own
  image.srcset = `${thumbnail(source, size)} 1x, ${thumbnail(source, 2 * size)} 2x`;
  image.src = thumbnail(source, size);
  frame.append(image);
  return frame;
}

// A new tab or window is the browser's own affair.
export const isPlain = (event) =>
  !(event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);

export function going(act) {
  return (event) => {
    if (!isPlain(event)) return;
    event.preventDefault();
    act(event);
  };
}

function closeness(match) {
  const called = label(match);
  const kind = match.label?.replaceAll(" ", "-") ?? "";
  return element(
    "p",
    { class: "closeness" },
    called ? element("span", { class: `label ${kind}` }, called) : null,
    element("span", { class: "distance" }, figures(match)),
  );
}

export function fieldList(fields) {
  return element(
    "p",
    { class: "fields" },
    ...fields.flatMap(({ name, value }) => [
      element("span", { class: "field-of" }, element("span", { class: "name" }, name), ` ${value}`),
      " ",
    ]),
  );
}

// `deck`: what a list does with its cards: open(item), search(item), their addresses, selection.
// `match`: whether the card is a result.
export function card(item, deck, match = false) {
  const { title, price, fields } = describe(item);
  const own = title === item.id;
  const pick = element("input", {
    type: "checkbox",
    "aria-label": t("select", { name: item.id }),
    change: () => deck.pick(item.id, pick.checked),
  });
  pick.checked = deck.picked(item.id);
  const views = item.views > 1 ? element("span", { class: "views" }, t("views", { n: item.views })) : null;
  return element(
    "li",
    { "data-id": item.id },
    element(
      "article",
      { class: "card" },
      element(
        "a",
        { class: "open", href: deck.detailLink(item.id), click: going(() => deck.open(item)) },
        picture({ id: item.id }, ""),
        element("span", { class: "title" }, title),
        own ? null : element("span", { class: "id" }, item.id),
      ),
      price ? element("p", { class: "price" }, price) : null,
      match ? closeness(item) : null,
      fields.length ? fieldList(fields) : null,
      element(
        "div",
        { class: "card-foot" },
        views,
        element(
          "a",
          { class: "similar", href: deck.searchLink(item.id), click: going(() => deck.search(item)) },
          t("similar"),
          element("span", { class: "visually-hidden" }, ` ${t("similar.to", { name: item.id })}`),
        ),
      ),
      element("label", { class: "pick" }, pick),
    ),
  );
}
