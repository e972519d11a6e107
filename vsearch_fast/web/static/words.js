// How numbers, distances and items are called on the page.

import { count, language, t } from "./i18n.js";

// In the order in which they are offered and stand side by side; null: the name has a translation.
const NAMES = { hamming: "Hamming", l1: "L1", l2: "L2", cosine: null, ip: null };

const LABELS = { "same item": "label.same", similar: "label.similar", "not similar": "label.other" };

const short = new Intl.NumberFormat(language, { maximumSignificantDigits: 3 });
const exact = new Intl.NumberFormat(language, { minimumSignificantDigits: 4, maximumSignificantDigits: 4 });
const plain = new Intl.NumberFormat(language, { maximumFractionDigits: 6 });
const money = new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const metricName = (metric) => NAMES[metric] ?? (metric in NAMES ? t(`metric.${metric}`) : metric);

export function inOrder(metrics) {
  const known = Object.keys(NAMES).filter((metric) => metrics.includes(metric));
  return [...known, ...metrics.filter((metric) => !known.includes(metric))];
}

export const pictures = (n) => t("pictures", { n });

export function distance(value) {
  // Differing bits are counted; the others have as many digits each, so that columns line up.
  return Number.isInteger(value) || Math.abs(value) >= 1000 ? count(value) : exact.format(value);
}

// What a match is called; "" where nothing can be said.
export const label = (match) => (match.label in LABELS ? t(LABELS[match.label]) : "");

// How far it is, and how probably it is what it is called.
export function figures({ distance: value, label: words, probability }) {
  const far = distance(value);
  if (!words) return far;
  const sure = probability > 0.99 ? t("figures.over", { n: 99 }) : `${Math.round(100 * probability)}%`;
  return `${far} · ${sure}`;
}

export function milliseconds(value) {
  return value < 10 ? `${short.format(Math.round(value * 10) / 10)} ms` : `${count(value)} ms`;
}

// A value of the metadata as text: none is hidden, the empty one is said.
export function valueText(value) {
  if (Array.isArray(value)) return value.map(valueText).join(", ");
  if (typeof value === "number") return plain.format(value);
  const text = String(value ?? "");
  return text.trim() === "" ? t("value.empty") : text;
}

function priceText(value) {
  return typeof value === "number" && !Number.isInteger(value) ? money.format(value) : valueText(value);
}

// Which columns lead: the catalogue's owner chose them, or usual names are looked for.
let leading = { title: null, price: null, link: null, columns: [] };

export function lead(titles) {
  leading = { ...leading, ...titles };
}

const present = (value) => value !== null && value !== undefined && String(value).trim() !== "";

function first(metadata, chosen, usual) {
  if (chosen) return present(metadata[chosen]) ? chosen : null;
  return usual.find((name) => present(metadata[name])) ?? null;
}

// An address of another kind than http could run as a script here.
function safe(address) {
  return /^https?:\/\//i.test(String(address)) ? String(address) : "";
}

// Columns that tell which pictures are of one thing: said by "views" and by the details.
export const THINGS = ["item", "group"];

// What leads: title, price, link; and the other fields by name. `all`: also those that the owner
// left out of the cards, and those that tell things.
export function describe(item, all = false) {
  const metadata = item.metadata ?? {};
  const titled = first(metadata, leading.title, ["title", "name", "category"]);
  const priced = first(metadata, leading.price, ["price"]);
  const linked = first(metadata, leading.link, ["link", "url"]);
  const link = linked ? safe(metadata[linked]) : "";
  const shown = leading.columns?.length && !all ? leading.columns : Object.keys(metadata);
  const fields = shown
    .filter((name) => name in metadata && name !== titled && name !== priced && !(link && name === linked))
    .filter((name) => all || (present(metadata[name]) && !THINGS.includes(name)))
    .map((name) => ({ name, value: valueText(metadata[name]) }));
  return {
    title: titled ? valueText(metadata[titled]) : item.id,
    price: priced ? priceText(metadata[priced]) : "",
    priceName: priced,
    link,
    fields,
  };
}

// What a picture of an item is called where it cannot be seen.
export function alternative(item) {
  const { title } = describe(item);
  return title === item.id ? title : `${title}, ${item.id}`;
}
