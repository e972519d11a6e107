// How numbers, distances and items are called on the page.

const NAMES = { hamming: "Hamming", l1: "L1", l2: "L2" };

const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const metricName = (metric) => NAMES[metric] ?? metric;

export const count = (number) => whole.format(number);

export const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

export function distance(value) {
  return Math.abs(value) >= 1000 ? whole.format(value) : digits.format(value);
}

export function milliseconds(value) {
  return value < 10 ? `${digits.format(Math.round(value * 10) / 10)} ms` : `${whole.format(value)} ms`;
}

// The name to show large, and what else is worth a line. Values that only repeat the id are not.
export function describe(item) {
  const metadata = Object.entries(item.metadata ?? {}).filter(
    ([, value]) => value !== null && value !== undefined && String(value).trim() !== "",
  );
  const category = metadata.find(([name]) => name === "category")?.[1];
  const lines = metadata
    .filter(([name, value]) => name !== "category" && !item.id.includes(String(value)))
    .map(([name, value]) => ({ name, value: String(value) }));
  const file = item.path?.split(/[\\/]/).pop() ?? "";
  if (file && !item.id.includes(file) && !file.startsWith(item.id)) {
    lines.push({ name: "path", value: item.path });
  }
  return { title: category ? String(category) : item.id, id: item.id, lines };
}

// What a picture of an item is called where it cannot be seen.
export function alternative(item) {
  const { title, id } = describe(item);
  return title === id ? id : `${title}, ${id}`;
}
