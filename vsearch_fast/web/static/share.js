// Copies the link to a search, also where the browser keeps the clipboard to secure pages.

import { byId, say } from "./dom.js";
import { t } from "./i18n.js";

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // plain http on another machine, or not permitted
  }
}

export function share() {
  const button = byId("copy");
  const field = byId("link");
  let back;
  button.addEventListener("click", async () => {
    const done = await copied(location.href);
    field.hidden = done;
    if (done) {
      button.textContent = t("link.copied");
      say(byId("status"), t("link.copied"));
      clearTimeout(back);
      back = setTimeout(() => {
        button.textContent = t("link.copy");
      }, 2500);
    } else {
      field.value = location.href;
      field.focus();
      field.select();
      say(byId("status"), t("link.field"));
    }
  });
}
