// What is searched for and how: the part of the page that a link carries.
//
// id or query: which picture (an item of the catalogue, or an upload that the server keeps);
// box: "x1,y1,x2,y2", "auto", or "" for the server's own choice; metric, k, where.

export const DEFAULT_K = 12;

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
  };
}

export function toLink(state, defaultMetric) {
  const link = new URLSearchParams();
  if (state.query) link.set("query", state.query);
  else if (state.id) link.set("id", state.id);
  if (state.box && isShared(state)) link.set("box", state.box);
  if (state.metric !== defaultMetric) link.set("metric", state.metric);
  if (state.k !== DEFAULT_K) link.set("k", state.k);
  for (const condition of state.where) link.append("where", condition);
  const text = link.toString();
  return text ? `?${text}` : "./";
}

// `local`: the picture is known to this page only, so no link can carry it.
export const hasQuery = (state) => Boolean(state.query || state.id || state.local);

export const isShared = (state) => Boolean(state.query || state.id);

export const withoutQuery = (state) => ({ ...state, query: "", id: "", local: false, box: "" });

// A new picture: a box of the old one would mean nothing on it.
export const withItem = (state, id) => ({ ...withoutQuery(state), id });
