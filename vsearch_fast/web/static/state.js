// What is shown, and how: the part of the page that a link carries.
//
// id or query: which picture is searched for (an item of the catalogue, or an upload that the
// server keeps); box: "x1,y1,x2,y2", "auto", or "" for the server's own choice; metric, k;
// where: "column=value" conditions; ranges: {column, min, max}, each "" where it is open;
// text, sort: of the catalogue; group: the column of which each value is shown once;
// show: the item whose details are open; view: "duplicates" or "".

import { inAddress } from "./i18n.js";

export const DEFAULT_K = 24;

// "price:10:50"; a column's name may hold colons, its limits cannot.
function readRange(text) {
  const [, column, min, max] = text.match(/^(.+):([^:]*):([^:]*)$/s) ?? [];
  return column ? { column, min, max } : null;
}

export function fromLink(text, defaultMetric) {
  const link = new URLSearchParams(text);
  const k = Number(link.get("k"));
  const query = link.get("query") ?? "";
  return {
    query,
    id: query ? "" : (link.get("id") ?? ""),
    box: link.get("box") ?? "",
    metric: link.get("metric") || defaultMetric,
    k: Number.isInteger(k) && k > 0 ? k : DEFAULT_K,
    where: link.getAll("where"),
    ranges: link.getAll("range").map(readRange).filter(Boolean),
    text: link.get("text") ?? "",
    sort: link.get("sort") ?? "",
    group: link.get("group") ?? "",
    show: link.get("show") ?? "",
    view: link.get("view") === "duplicates" ? "duplicates" : "",
  };
}

export function toLink(state, defaultMetric) {
  const link = new URLSearchParams();
  if (inAddress) link.set("lang", inAddress);
  if (state.query) link.set("query", state.query);
  else if (state.id) link.set("id", state.id);
  if (state.box && isShared(state)) link.set("box", state.box);
  if (state.metric !== defaultMetric) link.set("metric", state.metric);
  if (state.k !== DEFAULT_K) link.set("k", state.k);
  for (const condition of state.where) link.append("where", condition);
  for (const { column, min, max } of state.ranges) link.append("range", `${column}:${min}:${max}`);
  for (const name of ["text", "sort", "group", "show", "view"]) {
    if (state[name]) link.set(name, state[name]);
  }
  const text = link.toString();
  return text ? `?${text}` : "./";
}

// `local`: the picture is known to this page only, so no link can carry it.
export const hasQuery = (state) => Boolean(state.query || state.id || state.local);

export const isShared = (state) => Boolean(state.query || state.id);

export const isFiltered = (state) => state.where.length + state.ranges.length > 0;

export const withoutFilters = (state) => ({ ...state, where: [], ranges: [] });

export const withoutQuery = (state) => ({
  ...state, query: "", id: "", local: false, box: "", show: "", view: "",
});

// A new picture: a box of the old one would mean nothing on it.
export const withItem = (state, id) => ({ ...withoutQuery(state), id, text: "" });

// Whether only what lies over the page differs: the details of an item.
export function onlyDetails(one, other) {
  const plain = (state) => JSON.stringify({ ...state, show: "", local: Boolean(state.local) });
  return plain(one) === plain(other);
}

// In the language of filters, with names in quotes: a column may be called "and".
const quoted = (text) => `"${text.replace(/[\\"]/g, "\\$&")}"`;

export function filterOf({ ranges }) {
  return ranges
    .flatMap(({ column, min, max }) => [
      min === "" ? "" : `${quoted(column)} >= ${min}`,
      max === "" ? "" : `${quoted(column)} <= ${max}`,
    ])
    .filter(Boolean)
    .join(" and ");
}
