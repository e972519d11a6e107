// The query's own panel: its picture, its name, its box and where the box came from.

import { thumbnail } from "./api.js";
import { BoxEditor } from "./box.js";
import { byId, say } from "./dom.js";
import { alternative } from "./words.js";

const ORIGINS = {
  network: "Box proposed by the network",
  catalogue: "Box from the catalogue",
  you: "Box set by you",
};

export class Query {
  constructor({ catalogue, changed }) {
    this.stage = byId("stage");
    this.image = byId("query-picture");
    this.editor = new BoxEditor({
      stage: this.stage,
      box: byId("box"),
      changed: (box) => changed(box.join(",")),
      speak: (text) => say(byId("box-status"), text),
    });
    this.image.addEventListener("error", () => this.stage.classList.add("broken"));
    this.image.addEventListener("load", () => this.stage.classList.remove("broken"));
    byId("whole").addEventListener("click", () => changed([0, 0, ...this.size].join(",")));
    byId("propose").addEventListener("click", () => changed("auto"));
    byId("propose").hidden = !catalogue.locates;
  }

  // `file`: of an upload the server did not keep; `name`: of an upload, where it is known;
  // `item`: the catalogue's entry, where it is known.
  show(query, { file, name, item }) {
    const { kept, id, width, height, box, box_from: origin } = query;
    this.box = box;
    this.size = [width, height];
    const source = kept ? thumbnail({ query: kept }, 1024) : id ? thumbnail({ id }, 1024) : "";
    const samePicture = !this.picture(source, file);
    this.stage.style.setProperty("--ratio", width / height);
    const called = item ? alternative(item) : id || name || "Uploaded picture";
    this.image.alt = `Query: ${called}`;
    byId("query-name").textContent = called;
    this.editor.show(this.size, box, samePicture);
    byId("whole").disabled = false;
    byId("propose").disabled = false;
    const whole = !box || String(box) === String([0, 0, width, height]);
    const words = whole ? "The whole picture" : (ORIGINS[origin] ?? "Box");
    const [x1, y1, x2, y2] = box ?? [0, 0, width, height];
    byId("query-box").textContent =
      `${words}, ${x2 - x1} × ${y2 - y1} of ${width} × ${height} pixels`;
  }

  // Back to the box of the answer that is shown, after a change that led nowhere.
  restore() {
    this.editor.show(this.size, this.box);
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
}
