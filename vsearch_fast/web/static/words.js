// How numbers, distances and items are called on the page.

// In the order in which they are offered and stand side by side.
const NAMES = { hamming: "Hamming", l1: "L1", l2: "L2", cosine: "Cosine", ip: "Inner product" };

const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const exact = new Intl.NumberFormat("en", { minimumSignificantDigits: 4, maximumSignificantDigits: 4 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const metricName = (metric) => NAMES[metric] ?? metric;

// After "by". Of inner products the largest are the nearest: they are negated.
export function metricWords(metric) {
  return metric === "ip" ? "inner product, negated" : `${metricName(metric)} distance`;
}

export function inOrder(metrics) {
  const known = Object.keys(NAMES).filter((metric) => metrics.includes(metric));
  return [...known, ...metrics.filter((metric) => !known.includes(metric))];
}

export const count = (number) => whole.format(number);

export const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

export function distance(value) {
  // Differing bits are counted; the others have as many digits each, so that columns line up.
  return Number.isInteger(value) || Math.abs(value) >= 1000 ? whole.format(value) : exact.format(value);
}

// What a match is called, and how probably; "" where nothing can be said.
export function label({ label: words, probability }) {
  if (!words) return "";
  return `${words} · ${probability > 0.99 ? "over 99" : Math.round(100 * probability)}%`;
}

export function milliseconds(value) {
  return value < 10 ? `${short.format(Math.round(value * 10) / 10)} ms` : `${whole.format(value)} ms`;
}

// The name to show large, and what else is worth a line: not what repeats the id, or is part of
// another value, as "navy" is of "navy, white".
export function describe(item) {
  const metadata = Object.entries(item.metadata ?? {}).filter(
    ([, value]) => value !== null && value !== undefined && String(value).trim() !== "",
  );
  const category = metadata.find(([name]) => name === "category")?.[1];
  const others = metadata
    .map(([name, value]) => ({ name, value: [value].flat().join(", ") }))
    .filter(({ name, value }) => name !== "category" && !item.id.includes(value));
  const lines = others.filter(
    (line) => !others.some((other) => other.value !== line.value && other.value.includes(line.value)),
  );
  const file = item.path?.split(/[\\/]/).pop() ?? "";
  if (file && !item.id.includes(file) && !file.startsWith(item.id)) {
    lines.push({ name: "file", value: file });
  }
  return { title: category ? String(category) : item.id, id: item.id, lines };
}

// What a picture of an item is called where it cannot be seen.
export function alternative(item) {
  const { title, id } = describe(item);
  return title === id ? id : `${title}, ${id}`;
}
