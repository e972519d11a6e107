// Items that were picked, and what is done with them: exported as CSV.

import { exported } from "./api.js";
import { byId, element } from "./dom.js";
import { t } from "./i18n.js";

export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  // The browser has taken hold of it by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export class Selection {
  // `shown()`: the ids that "select all" picks; `failed(error, again)`.
  constructor({ shown, failed }) {
    this.ids = new Set();
    this.shown = shown;
    this.failed = failed;
    byId("select-all").addEventListener("click", () => this.set([...this.ids, ...this.shown()]));
    byId("select-none").addEventListener("click", () => {
      this.set([]);
      byId("main").focus({ preventScroll: true });
    });
    byId("export").addEventListener("click", () => this.export());
  }

  has(id) {
    return this.ids.has(id);
  }

  pick(id, whether) {
    if (whether) this.ids.add(id);
    else this.ids.delete(id);
    this.draw();
  }

  set(ids) {
    this.ids = new Set(ids);
    this.draw();
  }

  draw() {
    byId("selection").hidden = this.ids.size === 0;
    document.body.classList.toggle("selecting", this.ids.size > 0);
    byId("selected").textContent = t("selected", { n: this.ids.size });
    for (const box of document.querySelectorAll("li[data-id] .pick input")) {
      box.checked = this.ids.has(box.closest("li").dataset.id);
    }
  }

  async export() {
    byId("export").disabled = true;
    try {
      save(await exported([...this.ids]), "items.csv");
    } catch (error) {
      this.failed(error, () => this.export());
    } finally {
      byId("export").disabled = false;
    }
  }
}
