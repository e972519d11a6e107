// The one place where errors are shown: cause, consequence, cure, and what can be done at once.

import { byId, element } from "./dom.js";
import { t } from "./i18n.js";

// Here the parts stand as sentences of their own.
const ended = (line) => (/[.!?:]$/.test(line) ? line : `${line}.`);

export class Alert {
  constructor() {
    this.region = byId("alert");
  }

  // `lang`: of the parts, where it is not the page's; `actions`: pairs of a button's words and what it does.
  show(title, { cause, consequence, cure, lang }, actions = []) {
    const lines = [cause, consequence, cure].filter(Boolean).map(ended);
    this.region.replaceChildren(
      element("h2", {}, title),
      element("p", { class: "cause", lang }, lines[0] ?? ""),
      ...lines.slice(1).map((line) => element("p", { lang }, line)),
      element(
        "div",
        { class: "buttons" },
        ...[...actions, [t("dismiss"), () => byId("main").focus()]].map(([words, act]) =>
          element(
            "button",
            {
              type: "button",
              class: "button",
              click: () => {
                this.clear();
                act();
              },
            },
            words,
          ),
        ),
      ),
    );
    this.region.hidden = false;
    this.region.focus();
  }

  clear() {
    this.region.hidden = true;
    this.region.replaceChildren();
  }
}
