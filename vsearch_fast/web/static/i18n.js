// The language of the page: all words come from messages.js.

import { MESSAGES } from "./messages.js";
import { stored, store } from "./storage.js";

const KEPT = "vsearch-language";

// Where storage is refused the address carries the language.
export const inAddress = new URLSearchParams(location.search).get("lang") ?? "";

function chosen() {
  const wishes = [inAddress, stored("localStorage", KEPT) ?? "", ...navigator.languages];
  const known = wishes.map((wish) => wish.slice(0, 2).toLowerCase()).filter((wish) => wish in MESSAGES);
  return known[0] ?? "en";
}

export const language = chosen();
const words = MESSAGES[language];

// A text with {names} of values; of "one|many" the part that fits values.n.
export function t(key, values = {}) {
  let text = words[key];
  if (text === undefined) throw new Error(key);
  const forms = text.split("|");
  if (forms.length === 2) text = forms[values.n === 1 ? 0 : 1];
  return text.replace(/\{(\w+)\}/g, (whole, name) =>
    typeof values[name] === "number" ? count(values[name]) : (values[name] ?? whole),
  );
}

export const has = (key) => key in words;

const whole = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
export const count = (number) => whole.format(number);

// Fill a page whose elements name their texts: data-t, and data-t-ATTRIBUTE.
export function translate(root = document) {
  document.documentElement.lang = language;
  for (const each of root.querySelectorAll("*")) {
    for (const { name, value } of each.attributes) {
      if (name === "data-t") each.textContent = t(value);
      else if (name.startsWith("data-t-")) each.setAttribute(name.slice("data-t-".length), t(value));
    }
  }
}

// The control that switches it; the page is loaded again in the other language.
export function offerLanguages(select) {
  select.value = language;
  select.addEventListener("change", () => {
    const here = new URL(location.href);
    here.searchParams.delete("lang");
    if (!store("localStorage", KEPT, select.value)) here.searchParams.set("lang", select.value);
    if (here.href === location.href) location.reload();
    else location.replace(here);
  });
}
