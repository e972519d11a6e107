// One picture of the catalogue, as a link that searches by it.

import { thumbnail } from "./api.js";
import { element } from "./dom.js";
import { alternative, describe, distance, label } from "./words.js";

function picture(id, alt) {
  const frame = element("span", { class: "frame" });
  const image = element("img", { alt, width: 224, height: 224, loading: "lazy", decoding: "async" });
  // Before src: a picture that is gone may fail at once.
  image.addEventListener("error", () => {
    frame.classList.add("broken");
    image.replaceWith(element("span", { class: "missing" }, "No picture"));
  });
  image.draggable = false; // or it could be dropped on the page as a file of its own
  image.srcset = `${thumbnail({ id }, 224)} 1x, ${thumbnail({ id }, 448)} 2x`;
  image.src = thumbnail({ id }, 224);
  frame.append(image);
  return frame;
}

function caption(item) {
  const { title, id, lines } = describe(item);
  const made = [element("span", { class: "title" }, title)];
  if (id !== title) made.push(element("span", { class: "id" }, id));
  if (lines.length) {
    const text = lines.map(({ value }) => value).join(" · ");
    const full = lines.map(({ name, value }) => `${name}: ${value}`).join("\n");
    made.push(element("span", { class: "lines", title: full }, text));
  }
  return made;
}

// `link`: the address of the search by this picture; `choose(item)`: go there without loading.
// `match`: its rank, where the card is a result.
export function card(item, { link, choose, match }) {
  const words = [alternative(item)];
  if (match) words.push(`distance ${distance(item.distance)}`);
  const called = match && label(item);
  if (called) words.push(called);
  words.push(...describe(item).lines.map(({ value }) => value));
  const made = element(
    "a",
    { class: "card", href: link, "aria-label": `Search by this picture: ${words.join(", ")}` },
    picture(item.id, alternative(item)),
  );
  if (match) {
    made.append(
      element(
        "span",
        { class: "measure" },
        element("span", { class: "rank" }, `${match.rank}`),
        element("span", { class: "distance" }, distance(item.distance)),
      ),
    );
    if (called) {
      const kind = item.label.replace(" ", "-");
      made.append(element("span", { class: `label ${kind}` }, called));
    }
  }
  made.append(...caption(item));
  made.addEventListener("click", (event) => {
    // A new tab or window is the browser's own affair.
    if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    choose(item);
  });
  return element("li", { "data-id": item.id }, made);
}
