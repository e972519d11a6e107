// The query's own panel: its picture, its name, its box and where the box came from; and, while an
// upload travels, how far it is.

import { thumbnail } from "./api.js";
import { BoxEditor } from "./box.js";
import { byId, say } from "./dom.js";
import { t } from "./i18n.js";
import { alternative } from "./words.js";

const ORIGINS = ["network", "catalogue", "you"];

export class Query {
  constructor({ catalogue, changed, cancelled }) {
    this.stage = byId("stage");
    this.image = byId("query-picture");
    this.editor = new BoxEditor({
      stage: this.stage,
      box: byId("box"),
      changed: (box) => changed(box.join(",")),
      speak: (text) => say(byId("box-status"), text),
    });
    this.image.addEventListener("error", () => this.stage.classList.add("broken"));
    this.image.addEventListener("load", () => {
      this.stage.classList.remove("broken");
      // Of an upload the shape is not known before.
      if (this.pending) this.shape(this.image.naturalWidth, this.image.naturalHeight);
    });
    byId("whole").addEventListener("click", () => changed([0, 0, ...this.size].join(",")));
    byId("propose").addEventListener("click", () => changed("auto"));
    byId("propose").hidden = !catalogue.locates;
    byId("cancel").addEventListener("click", cancelled);
    // On a phone the query is small until its box is to be changed.
    byId("adjust").addEventListener("click", () => this.adjust(!document.body.classList.contains("adjusting")));
  }

  adjust(whether) {
    document.body.classList.toggle("adjusting", whether);
    byId("adjust").setAttribute("aria-expanded", String(whether));
  }

  shape(width, height) {
    this.stage.style.setProperty("--ratio", width / height);
  }

  // An upload is on its way: it is seen at once.
  preview(file) {
    this.pending = true;
    this.picture("", file);
    byId("box").hidden = true;
    byId("query-name").textContent = file.name;
    byId("query-box").textContent = t("upload.preparing");
    byId("sent").removeAttribute("value");
    byId("sending").hidden = false;
    this.enable(false);
  }

  // `share`: of the file that has travelled; 1 when the server works on it.
  progress(share) {
    byId("sent").value = share;
    byId("query-box").textContent = share < 1 ? t("upload.sending", { n: Math.round(100 * share) }) : t("upload.searching");
  }

  enable(whether) {
    for (const name of ["whole", "propose", "adjust"]) byId(name).disabled = !whether;
  }

  // `file`: of an upload the server did not keep; `name`: of an upload, where it is known;
  // `item`: the catalogue's entry, where it is known.
  show(query, { file, name, item }) {
    this.shown = [query, { file, name, item }];
    this.pending = false;
    byId("sending").hidden = true;
    const { kept, id, width, height, box, box_from: origin } = query;
    this.box = box;
    this.size = [width, height];
    const source = kept ? thumbnail({ query: kept }, 1024) : id ? thumbnail({ id }, 1024) : "";
    const samePicture = !this.picture(source, file);
    this.shape(width, height);
    this.called = item ? alternative(item) : id || name || t("query.uploaded");
    this.image.alt = t("query.alt", { name: this.called });
    byId("query-name").textContent = this.called;
    this.editor.show(this.size, box, samePicture);
    this.enable(true);
    const whole = !box || String(box) === String([0, 0, width, height]);
    const words = t(whole ? "box.whole" : ORIGINS.includes(origin) ? `box.${origin}` : "box.other");
    const [x1, y1, x2, y2] = box ?? [0, 0, width, height];
    byId("query-box").textContent = t("box.size", {
      words, width: String(x2 - x1), height: String(y2 - y1), whole: `${width} × ${height}`,
    });
  }

  // Back to the answer that is shown, after a change or an upload that led nowhere.
  restore() {
    byId("sending").hidden = true;
    this.pending = false;
    if (this.shown) this.show(...this.shown);
  }

  // Whether it is another picture: a new box must not make the same one flash.
  picture(source, file) {
    if (this.source === (source || file)) return false;
    this.source = source || file;
    if (this.local) URL.revokeObjectURL(this.local);
    this.local = source ? null : URL.createObjectURL(file);
    this.image.src = source || this.local;
    return true;
  }

  // For the details, which show it beside a match.
  get current() {
    return { source: this.image.src, name: this.called };
  }
}
