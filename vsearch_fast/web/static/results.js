// The matches: one grid, or one for each distance side by side.

import { card } from "./card.js";
import { byId, element, say } from "./dom.js";
import { distance, inOrder, metricName, metricWords, milliseconds, plural } from "./words.js";

function sentence(result) {
  const by = `by ${metricWords(result.metric)}`;
  if (!result.matches.length) return `No matches ${by}: nothing is within the filter`;
  const nearest = `nearest ${distance(result.matches[0].distance)}`;
  return `${plural(result.matches.length, "match", "matches")} ${by}, ${nearest}`;
}

function nothing(result, several) {
  const about = several ? `Nothing similar by ${metricWords(result.metric)}.` : "Nothing similar.";
  return element(
    "p",
    { class: "note" },
    element("strong", {}, about),
    " None of the matches is likely to be of the query's kind. The nearest are shown all the same.",
  );
}

function grid(result, options) {
  return element(
    "ol",
    { class: "grid", role: "list" },
    ...result.matches.map((match, place) =>
      card(match, {
        link: options.linkTo(match.id),
        choose: options.choose,
        match: { rank: place + 1 },
      }),
    ),
  );
}

function column(result, options) {
  const [first] = result.matches;
  const about = first ? `Nearest ${distance(first.distance)}` : "No matches";
  return element(
    "section",
    { class: "side", "aria-label": `By ${metricWords(result.metric)}` },
    element("h3", {}, metricName(result.metric)),
    element("p", { class: "summary" }, about),
    grid(result, options),
  );
}

// The same item in the other columns shows where each distance ranks it.
function showSame(region, id) {
  for (const other of region.querySelectorAll("li.same")) other.classList.remove("same");
  if (!id) return;
  for (const other of region.querySelectorAll("li[data-id]")) {
    if (other.dataset.id === id) other.classList.add("same");
  }
}

export class Results {
  constructor({ linkTo, choose }) {
    this.options = { linkTo, choose };
    this.region = byId("results");
    for (const kind of ["pointerover", "focusin"]) {
      this.region.addEventListener(kind, (event) => {
        if (this.several) showSame(this.region, event.target.closest("li")?.dataset.id);
      });
    }
    this.region.addEventListener("pointerleave", () => showSame(this.region, null));
  }

  busy(whether) {
    byId("matches").setAttribute("aria-busy", String(whether));
  }

  // `among`: what was searched, in words.
  show(answer, among) {
    const { milliseconds: taken } = answer;
    const order = inOrder(answer.results.map(({ metric }) => metric));
    const results = order.map((metric) => answer.results.find((each) => each.metric === metric));
    this.several = results.length > 1;
    const parts = results.map((result) =>
      this.several ? column(result, this.options) : grid(result, this.options),
    );
    this.region.className = this.several ? "sides" : "";
    this.region.replaceChildren(...parts);
    const heard = results.map(sentence).join("; ");
    const time = Object.entries(taken ?? {})
      .map(([step, value]) => `${step} ${milliseconds(value)}`)
      .join(", ");
    const found = this.several ? `${results.length} distances side by side` : heard;
    byId("summary").replaceChildren(
      element("span", {}, `${found} · among ${among}${time ? ` · ${time}` : ""}`),
    );
    const far = results.filter((result) => result.nothing_similar && result.matches.length);
    byId("note").replaceChildren(...far.map((result) => nothing(result, this.several)));
    say(byId("status"), heard);
  }

  clear() {
    this.region.replaceChildren();
    byId("summary").textContent = "";
    byId("note").replaceChildren();
  }
}
