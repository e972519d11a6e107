// Puts the page together: one state, in the address; every wish is an attempt to reach another.

import * as api from "./api.js";
import { Alert } from "./alert.js";
import { Browse } from "./browse.js";
import { byId, element, say } from "./dom.js";
import { listen } from "./intake.js";
import { Query } from "./query.js";
import { Results } from "./results.js";
import { Settings } from "./settings.js";
import { share } from "./share.js";
import { fromLink, hasQuery, isShared, toLink, withItem, withoutQuery } from "./state.js";
import { count, plural } from "./words.js";

const alert = new Alert();

class Page {
  constructor(catalogue) {
    this.catalogue = catalogue;
    this.state = this.read(); // what is shown, as soon as it is
    this.wanted = { state: this.state, file: null }; // what is being asked for
    this.answered = false;
    this.items = new Map(); // entries of pictures that were clicked, by id
    this.file = null; // an upload that the server did not keep
    const linkTo = (id) => this.link(withItem(this.state, id));
    const choose = (item) => {
      this.items.set(item.id, item);
      this.attempt(withItem(this.wanted.state, item.id), { focus: true });
    };
    this.settings = new Settings(catalogue, (change) => this.wish(change));
    this.settings.show(this.state);
    this.query = new Query({ catalogue, changed: (box) => this.wish({ box }) });
    this.results = new Results({ linkTo, choose });
    this.browse = new Browse({
      linkTo,
      choose,
      failed: (error, again) => this.failed(error, "The catalogue's pictures were not loaded", again),
    });
    listen((file, others) => this.upload(file, others));
    share();
    byId("home").addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.attempt(withoutQuery(this.state), { focus: true });
    });
    window.addEventListener("popstate", () => {
      const next = this.read();
      // The skip link changes the address too, but not what is searched for.
      if (this.link(next) === this.link(this.wanted.state) && !this.wanted.state.local) return;
      this.attempt(next, { from: "history" });
    });
  }

  // Change a part of what is asked for, though the answer to an earlier wish may be on its way.
  wish(change) {
    const { state, file } = this.wanted;
    this.attempt({ ...state, ...change }, { file, focus: Boolean(file) });
  }

  read() {
    return fromLink(location.search, this.catalogue.default_metric);
  }

  link(state) {
    return toLink(state, this.catalogue.default_metric);
  }

  upload(file, others) {
    const limit = this.catalogue.limits.upload_bytes;
    if (file.size > limit) {
      // Not sent: it would be refused only after all of it has travelled.
      const parts = {
        cause: `It has ${count(file.size)} bytes; this server takes at most ${count(limit)}.`,
        consequence: "It was not sent.",
        cure: "Make it smaller, or cut out the item, and choose it again.",
      };
      this.request?.abort();
      this.idle();
      alert.show(`“${file.name}” is too large`, parts);
      return;
    }
    // Compared as the catalogue was made: whole with whole, a part with parts.
    const box = this.catalogue.boxed && this.catalogue.locates ? "auto" : "";
    this.attempt({ ...withoutQuery(this.state), box }, { file, others, focus: true });
  }

  // Try to reach a state. The page and its address change once the answer is there, so a failure
  // leaves what was found before; `from: "history"` means the address has changed already.
  async attempt(next, { from = "wish", file = null, others = 0, focus = false } = {}) {
    this.request?.abort(); // the answer to an earlier wish is of no use now
    this.idle();
    this.wanted = { state: next, file };
    if (file || next.query !== this.state.query || next.id !== this.state.id) this.query.editor.calm();
    // An upload that the server did not keep has no name of its own: it is sent again.
    const sent = file ?? (next.local ? this.file : null);
    if (!sent && !hasQuery(next)) {
      this.commit(next, from, {});
      this.showCatalogue(focus);
      return;
    }
    const request = new AbortController();
    this.request = request;
    const only = others ? ` (the first of ${others + 1} files)` : "";
    this.busy(file ? `Searching by “${file.name}”${only} …` : "Searching …");
    try {
      const [answer, item] = await Promise.all([
        api.search(next, sent, { signal: request.signal, waiting: (...wait) => this.waiting(...wait) }),
        this.entry(next.id, request.signal),
      ]);
      alert.clear();
      this.found(answer, next, { from, sent, fresh: file, item, focus });
    } catch (error) {
      if (error.name === "AbortError") return;
      this.searchFailed(error, next, { from, file, focus });
    } finally {
      if (this.request === request) this.idle();
    }
  }

  // What the catalogue says of an item that arrived by a link; without it the id must do.
  async entry(id, signal) {
    if (!id || this.items.has(id)) return this.items.get(id);
    try {
      const { items } = await api.items({ ids: [id] }, { signal });
      if (items[0]) this.items.set(id, items[0]);
      return items[0];
    } catch (error) {
      if (error.name === "AbortError") throw error;
      return undefined; // the search itself reports what is wrong
    }
  }

  found(answer, next, { from, sent, fresh, item, focus }) {
    const { kept } = answer.query;
    this.file = sent && !kept ? sent : null;
    const local = Boolean(this.file);
    const state = kept ? { ...next, query: kept, id: "", local } : { ...next, local };
    const same = kept && kept === this.state.query;
    const name = fresh?.name ?? (same || from === "history" ? history.state?.name : undefined);
    this.commit(state, from, { name });
    this.answered = true;
    document.body.dataset.view = "search";
    this.query.show(answer.query, { file: sent, name, item });
    this.results.show(answer, this.among());
    byId("copy").hidden = !isShared(state);
    document.title = `${byId("query-name").textContent} · Visual item search`;
    if (focus) {
      byId("query-title").focus({ preventScroll: true });
      window.scrollTo(0, 0);
    }
  }

  // How many pictures the filter leaves, where the counts tell; with several columns only a search
  // through both would.
  among() {
    const { where } = this.state;
    if (where.length !== 1) return where.length ? "the filtered pictures" : plural(this.catalogue.pictures, "picture", "pictures");
    for (const { name, values } of this.catalogue.columns) {
      const value = values.find((each) => `${name}=${each.value}` === where[0]);
      if (value) return plural(value.count, "picture", "pictures");
    }
    return "the filtered pictures";
  }

  commit(state, from, saved) {
    this.state = state;
    this.wanted = { state, file: null };
    this.settings.show(state);
    const link = this.link(state);
    const here = location.search || "./";
    if (from === "history" || link === here) history.replaceState(saved, "", link);
    else history.pushState(saved, "", link);
  }

  showCatalogue(focus) {
    document.body.dataset.view = "browse";
    document.title = "Visual item search";
    this.file = null;
    this.results.clear();
    this.browse.show(this.state.where);
    if (focus) {
      window.scrollTo(0, 0);
      byId("main").focus({ preventScroll: true });
    }
  }

  searchFailed(error, next, { from, file, focus }) {
    // The controls say what is shown, not what was wished for in vain; where nothing is shown, the
    // address does.
    if (from === "history" || !this.answered) this.state = next;
    this.wanted = { state: this.state, file: null };
    this.settings.show(this.state);
    if (from === "history" || !this.answered) {
      this.showCatalogue(false);
    } else if (document.body.dataset.view === "browse") {
      this.browse.show(this.state.where);
    } else {
      this.query.restore();
    }
    const title = file ? `“${file.name}” was not searched` : "This search was not made";
    this.failed(error, title, () => this.attempt(next, { from, file, focus }), true);
  }

  failed(error, title, again, choosing = false) {
    if (!(error instanceof api.ApiError)) throw error; // a fault of this page belongs in its console
    const actions = [];
    if (error.passing) actions.push(["Try again", again]);
    if (choosing) actions.push(["Choose another picture", () => byId("file").click()]);
    alert.show(title, error.parts, actions);
  }

  busy(words) {
    document.body.classList.add("busy");
    this.results.busy(true);
    say(byId("status"), words);
  }

  idle() {
    document.body.classList.remove("busy");
    byId("waiting")?.remove();
    this.results.busy(false);
  }

  waiting(seconds, attempt, of, error) {
    const words =
      `${error.parts.cause} Trying again in ${plural(seconds, "second", "seconds")} (${attempt} of ${of}).`;
    byId("waiting")?.remove();
    byId("alert").before(element("p", { id: "waiting", class: "note" }, words));
    say(byId("status"), words);
  }
}

function introduce(catalogue) {
  const about = [`${catalogue.name}, ${plural(catalogue.pictures, "picture", "pictures")}`];
  if (catalogue.note) about.push(catalogue.note);
  byId("about").textContent = about.join(" · ");
  byId("rate-link").hidden = !catalogue.rating;
}

async function start() {
  document.body.classList.add("busy");
  // A link to a search shows the search's frame at once, not the catalogue's pictures first.
  if (isShared(fromLink(location.search, ""))) document.body.dataset.view = "search";
  try {
    const catalogue = await api.catalogue();
    introduce(catalogue);
    const page = new Page(catalogue);
    await page.attempt(page.read(), { from: "history" });
  } catch (error) {
    document.body.classList.remove("busy");
    if (!(error instanceof api.ApiError)) throw error;
    alert.show("The catalogue was not opened", error.parts, [["Try again", start]]);
  }
}

start();
