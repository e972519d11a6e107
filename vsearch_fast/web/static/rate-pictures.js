// The pictures of tasks: loaded ahead, and shown.

import { element } from "./dom.js";
import { t } from "./i18n.js";

const LARGE = 1024;
const SMALL = 448;

function address({ key }, size) {
  return `api/rate/pictures?${new URLSearchParams({ key, size })}`;
}

// A picture over the page, as large as it fits, until it is clicked or Escape is pressed.
function enlarge(shown, alt) {
  const close = element("button", { type: "button", class: "button", click: () => dialog.close() }, t("rate.close"));
  const image = element("img", { alt, src: address(shown, LARGE), click: () => dialog.close() });
  const dialog = element("dialog", { class: "zoom", "aria-label": alt, close: () => dialog.remove() }, close, image);
  document.body.append(dialog);
  dialog.showModal();
}

// One picture in its frame. `settled` is true, and `ready` resolves, once it can be seen, or is
// known to be gone.
class Picture {
  constructor(shown, size, alt) {
    this.settled = false;
    this.image = element("img", { alt, draggable: "false", decoding: "async" });
    this.frame = element(
      "button",
      { type: "button", class: "frame", "aria-label": t("rate.enlarge", { what: alt }), click: () => enlarge(shown, alt) },
      this.image,
    );
    let settle;
    this.ready = new Promise((resolve) => {
      settle = () => {
        this.settled = true;
        resolve();
      };
    });
    this.image.addEventListener("load", settle, { once: true });
    if (shown.region) this.mark(shown.region);
    this.image.addEventListener("error", () => {
      this.frame.classList.add("gone");
      this.frame.replaceChildren(t("rate.gone", { what: alt }));
      settle();
    }, { once: true });
    this.image.src = address(shown, size);
  }

  // Outlines the item in a picture that shows more than it. The picture lies centred in its frame,
  // as large as fits, and moves whenever the frame changes.
  mark([left, top, right, bottom]) {
    const outline = element("span", { class: "region" });
    this.frame.append(outline);
    const place = () => {
      const { naturalWidth, naturalHeight } = this.image;
      if (!naturalWidth) return;
      const { clientWidth, clientHeight } = this.frame;
      const scale = Math.min(clientWidth / naturalWidth, clientHeight / naturalHeight);
      const [width, height] = [naturalWidth * scale, naturalHeight * scale];
      outline.style.left = `${(clientWidth - width) / 2 + left * width}px`;
      outline.style.top = `${(clientHeight - height) / 2 + top * height}px`;
      outline.style.width = `${(right - left) * width}px`;
      outline.style.height = `${(bottom - top) * height}px`;
    };
    this.image.addEventListener("load", place);
    new ResizeObserver(place).observe(this.frame);
  }
}

// What a task shows, made and loading from the moment the task is known.
export class Pictures {
  constructor(task) {
    this.all = [];
    this.element = task.mode === "match" ? this.match(task) : this.better(task);
    this.ready = Promise.all(this.all.map((picture) => picture.ready));
  }

  get settled() {
    return this.all.every((picture) => picture.settled);
  }

  picture(shown, size, alt) {
    const made = new Picture(shown, size, alt);
    this.all.push(made);
    return made.frame;
  }

  figure(shown, size, alt, caption) {
    return element(
      "figure",
      { class: "shown" },
      this.picture(shown, size, alt),
      element("figcaption", {}, caption),
    );
  }

  asked(query) {
    return this.figure(query, LARGE, t("rate.query"), t("rate.query.caption"));
  }

  match({ query, result }) {
    return element(
      "div",
      { class: "match" },
      this.asked(query),
      this.figure(result, LARGE, t("rate.result"), t("rate.result.caption")),
    );
  }

  better({ query, left, right }) {
    const asked = this.asked(query);
    asked.classList.add("asked");
    return element("div", { class: "better" }, asked, this.row(left, "A"), this.row(right, "B"));
  }

  row(pictures, side) {
    return element(
      "section",
      { class: side === "A" ? "row left" : "row right", "aria-label": t("rate.row", { side }) },
      element("h2", {}, t("rate.row", { side })),
      element(
        "ol",
        {},
        ...pictures.map((shown, place) =>
          element(
            "li",
            {},
            this.picture(shown, SMALL, t("rate.row.result", { side, place: place + 1, total: pictures.length })),
          ),
        ),
      ),
    );
  }
}
