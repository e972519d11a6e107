// Puts the page together: one state, in the address; every wish is an attempt to reach another.

import * as api from "./api.js";
import { Alert } from "./alert.js";
import { Browse, offerSorts, showSort } from "./browse.js";
import { Detail } from "./detail.js";
import { byId, element, say } from "./dom.js";
import { Duplicates } from "./duplicates.js";
import { Filters } from "./filters.js";
import { count, offerLanguages, t, translate } from "./i18n.js";
import { deliver, listen } from "./intake.js";
import { Place } from "./place.js";
import { prepared } from "./prepare.js";
import { Query } from "./query.js";
import { Recent, recentSource } from "./recent.js";
import { NEXT, Results } from "./results.js";
import { Selection } from "./selection.js";
import { Settings } from "./settings.js";
import { share } from "./share.js";
import {
  fromLink, hasQuery, isFiltered, isShared, onlyDetails, toLink, withItem, withoutFilters, withoutQuery,
} from "./state.js";
import { lead, pictures, THINGS } from "./words.js";

const alert = new Alert();

class Page {
  constructor(catalogue) {
    this.catalogue = catalogue;
    this.state = this.read(); // what is shown, as soon as it is
    this.wanted = { state: this.state, file: null }; // what is being asked for
    this.answered = false;
    this.items = new Map(); // entries of pictures that were clicked, by id
    this.file = null; // an upload that the server did not keep
    this.place = new Place();
    const failed = (error, again) => this.failed(error, t("failed.items"), again);
    const clear = () => this.wish({ ...withoutFilters({}), text: "" });
    const grew = () => this.detail?.around();
    const wish = (change) => this.wish(change);
    this.selection = new Selection({
      shown: () => (this.state.view ? this.duplicates.ids : this.listed().map(({ id }) => id)),
      failed: (error, again) => this.failed(error, t("failed.export"), again),
    });
    const deck = {
      open: (item) => this.open(item),
      search: (item) => this.searchBy(item),
      detailLink: (id) => this.link({ ...this.state, show: id }),
      searchLink: (id) => this.link(withItem(this.state, id)),
      pick: (id, whether) => this.selection.pick(id, whether),
      picked: (id) => this.selection.has(id),
      pickAll: (ids) => this.selection.set([...this.selection.ids, ...ids]),
    };
    this.settings = new Settings(catalogue, wish);
    this.filters = new Filters(catalogue.columns, { wish, failed, without: [catalogue.titles.title, catalogue.titles.link] });
    this.query = new Query({ catalogue, changed: (box) => this.wish({ box }), cancelled: () => this.cancel() });
    this.results = new Results({ deck, load: (offset, signal) => this.further(offset, signal), failed, clear, grew });
    this.browse = new Browse({ deck, catalogue, failed, clear, grew });
    this.duplicates = new Duplicates({ deck, failed: (error, again) => this.failed(error, t("failed.duplicates"), again) });
    this.recent = new Recent({ go: (link) => this.attempt(fromLink(link, catalogue.default_metric), { focus: true }) });
    this.detail = new Detail({
      neighbour: (id, step) => this.neighbour(id, step),
      go: (item) => this.open(item, "replace"),
      closed: () => this.closeDetail(),
      search: (item) => this.searchBy(item),
      searchLink: deck.searchLink,
      link: deck.detailLink,
      query: () => (hasQuery(this.state) ? this.query.current : null),
    });
    offerSorts(catalogue.columns, (sort) => this.wish({ sort }));
    this.listen();
    this.settings.show(this.state);
    this.filters.show(this.state);
  }

  listen() {
    share();
    const going = (id, next) =>
      byId(id).addEventListener("click", (event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        this.attempt(next(), { focus: true });
      });
    going("home", () => ({ ...withoutQuery(this.state), text: "" }));
    going("duplicates-link", () => ({ ...withoutFilters(withoutQuery(this.state)), text: "", view: "duplicates" }));
    // The browser's own cross in the field clears it.
    byId("text").addEventListener("search", () => {
      if (!byId("text").value && this.wanted.state.text) this.wish({ text: "" });
    });
    byId("group").addEventListener("change", () => this.wish({ group: byId("group").checked ? this.grouping : "" }));
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

  searchBy(item) {
    this.items.set(item.id, item);
    this.attempt(withItem(this.wanted.state, item.id), { focus: true });
  }

  upload(file, others) {
    this.offer(file, others);
    this.attempt({ ...withoutQuery(this.state), box: this.ownBox(), text: "" }, { file, focus: true });
  }

  // Of a new picture: compared as the catalogue was made, whole with whole, a part with parts.
  ownBox() {
    return this.catalogue.boxed && this.catalogue.locates ? "auto" : "";
  }

  // Of several files one is searched by; the others are a click away.
  offer(file, others) {
    const region = byId("more-files");
    region.hidden = !others.length;
    if (!others.length) return;
    region.replaceChildren(
      element("p", {}, t("files.several", { n: others.length + 1, name: file.name })),
      element(
        "div",
        { class: "buttons" },
        ...others.slice(0, 12).map((other) =>
          element("button", { type: "button", class: "button", click: () => this.upload(other, [file, ...others].filter((each) => each !== other)) }, other.name),
        ),
      ),
    );
  }

  // An address in place of a picture: one of this page is gone to; of others the server knows
  // those of its catalogue, and fetches from the hosts that it was told.
  async address(text) {
    const url = URL.parse?.(text) ?? null;
    if (url?.origin === location.origin && isShared(fromLink(url.search, ""))) {
      this.attempt(fromLink(url.search, this.catalogue.default_metric), { focus: true });
      return;
    }
    let error = null;
    try {
      const { query } = await api.searchAddress(text);
      if (query.id) this.attempt(withItem(this.wanted.state, query.id), { focus: true });
      else this.attempt({ ...withoutQuery(this.state), query: query.kept, box: this.ownBox(), text: "" }, { focus: true });
      return;
    } catch (refused) {
      error = refused;
    }
    const fetches = error.code && error.code !== "url_not_fetched";
    const parts = fetches
      ? error.parts
      : { cause: t("address.cause"), consequence: t("address.consequence"), cure: t("address.cure") };
    alert.show(t("address.title"), parts, [[t("intake.choose"), () => byId("file").click()]]);
  }

  // Try to reach a state. The page and its address change once the answer is there, so a failure
  // leaves what was found before; `from: "history"` means the address has changed already,
  // "replace" that no new place in the history is wanted.
  async attempt(next, { from = "wish", file = null, focus = false } = {}) {
    this.request?.abort(); // the answer to an earlier wish is of no use now
    this.idle();
    if (!file && this.answeredFor(next)) {
      this.commit(next, from, {});
      this.showDetail();
      return;
    }
    this.wanted = { state: next, file };
    if (file || next.query !== this.state.query || next.id !== this.state.id) this.query.editor.calm();
    // An upload that the server did not keep has no name of its own: it is sent again.
    const sent = file ?? (next.local ? this.file : null);
    if (!sent && !hasQuery(next)) {
      this.commit(next, from, {});
      await this.showCatalogue(focus, from);
      return;
    }
    const request = new AbortController();
    this.request = request;
    this.busy(file ? t("busy.file", { name: file.name }) : t("busy"));
    try {
      const small = file ? await this.smaller(file, request.signal) : sent;
      const { signal } = request;
      const [answer, item] = await Promise.all([
        api.search(next, small, {
          signal,
          waiting: (...wait) => this.waiting(...wait),
          progress: file ? (share) => this.query.progress(share) : undefined,
        }),
        this.entry(next.id, signal),
      ]);
      if (signal.aborted) return;
      alert.clear();
      this.found(answer, next, { from, sent: small, fresh: file, item, focus });
    } catch (error) {
      if (error.name === "AbortError") return;
      this.searchFailed(error, next, { from, file, focus });
    } finally {
      if (this.request === request) this.idle();
    }
  }

  // Whether all but the details that lie over it is on the page already.
  answeredFor(next) {
    if (!this.started || !onlyDetails(next, this.state) || this.wanted.file) return false;
    return onlyDetails(next, this.wanted.state);
  }

  // Shown at once, and made small; an ApiError where it is still too large.
  async smaller(file, signal) {
    document.body.dataset.view = "search";
    this.query.preview(file);
    const { upload_bytes: limit, pixels } = this.catalogue.limits;
    const small = await prepared(file, pixels);
    signal.throwIfAborted();
    if (small.size > limit) {
      // Not sent: it would be refused only after all of it has travelled.
      throw new api.ApiError({
        cause: t("upload.large", { n: small.size, limit: count(limit) }),
        consequence: t("upload.large.consequence"),
        cure: t("upload.large.cure"),
      }, 413);
    }
    return small;
  }

  cancel() {
    this.request?.abort();
    this.idle();
    this.wanted = { state: this.state, file: null };
    byId("more-files").hidden = true;
    this.unseen();
    byId("main").focus({ preventScroll: true });
    say(byId("status"), t("upload.cancelled"));
  }

  // Back to what was shown before an attempt that led nowhere.
  unseen() {
    if (this.answered && hasQuery(this.state)) {
      document.body.dataset.view = "search";
      this.query.restore();
    } else {
      this.query.restore();
      this.showCatalogue(false);
    }
  }

  // What the catalogue says of an item that arrived by a link; without it the id must do.
  async entry(id, signal) {
    if (!id || this.items.has(id)) return this.items.get(id);
    try {
      const { items } = await api.itemsById([id], { signal });
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
    if (fresh) this.query.adjust(false);
    this.commit(state, from, { name });
    this.answered = true;
    document.body.dataset.view = "search";
    this.query.show(answer.query, { file: sent, name, item });
    this.offerGroups(answer.results.flatMap(({ matches }) => matches));
    this.results.show(answer, { among: this.among(), k: state.k, filtered: isFiltered(state) });
    byId("copy").hidden = !isShared(state);
    document.title = `${this.query.called} · ${t("brand")}`;
    if (isShared(state)) this.recent.add(this.link({ ...state, show: "" }), this.query.called, recentSource(state));
    if (focus) {
      byId("query-title").focus({ preventScroll: true });
      window.scrollTo(0, 0);
    }
    if (from === "history") this.place.restore();
    this.showDetail();
  }

  // More of the matches that are shown.
  async further(offset, signal) {
    const answer = await api.search(this.state, this.state.local ? this.file : null, { signal, offset, k: offset ? NEXT : this.state.k });
    const { matches } = answer.results[0];
    const next = offset + matches.length;
    const last = matches.length < (offset ? NEXT : this.state.k) || next > this.catalogue.limits.offset;
    return { items: matches, next: last ? null : next };
  }

  // Where items of several pictures are told by a column each may be shown once.
  offerGroups(matches) {
    this.grouping = this.state.group || THINGS.find((name) => matches.some(({ metadata }) => metadata?.[name]));
    byId("group-switch").hidden = !this.grouping;
    byId("group").checked = Boolean(this.state.group);
  }

  // How many pictures the filter leaves, where the counts tell; with several columns only a search
  // through both would.
  among() {
    const { where, ranges } = this.state;
    if (!where.length && !ranges.length) return pictures(this.catalogue.pictures);
    if (where.length === 1 && !ranges.length) {
      for (const { name, values } of this.catalogue.columns) {
        const value = values.find((each) => `${name}=${each.value}` === where[0]);
        if (value) return pictures(value.count);
      }
    }
    return t("among.filtered");
  }

  commit(state, from, saved) {
    const before = this.state;
    this.state = state;
    this.wanted = { state, file: null };
    this.settings.show(state);
    if (!this.started || !onlyDetails(before, state)) this.filters.show(state);
    showSort(state.sort);
    // Words may be half written before the page is ready.
    if (this.started || !byId("text").value) byId("text").value = state.text;
    const link = this.link(state);
    const here = location.search || "./";
    if (from === "history" || from === "replace" || link === here) {
      history.replaceState({ ...history.state, ...saved }, "", link);
    } else {
      this.place.keep();
      history.pushState({ ...saved, over: Boolean(state.show) && onlyDetails(before, state) }, "", link);
    }
    this.started = true;
  }

  // Details of an item of the page, by its card or by a link.
  open(item, from = "wish") {
    this.items.set(item.id, item);
    this.attempt({ ...this.state, show: item.id }, { from });
  }

  closeDetail() {
    // The place in the history that the details took is given back.
    if (history.state?.over) history.back();
    else this.attempt({ ...this.state, show: "" }, { from: "replace" });
  }

  async showDetail() {
    const { show } = this.state;
    if (!show) {
      const last = this.detail.item?.id;
      this.detail.hide();
      if (last) this.place.focus(last);
      return;
    }
    const item = this.listed().find(({ id }) => id === show) ?? (await this.entry(show));
    if (this.state.show !== show) return;
    if (item) this.detail.show(item, this.results.results?.[0].metric);
    else this.closeDetail();
  }

  // What is shown in order.
  listed() {
    return { search: this.results, duplicates: this.duplicates, browse: this.browse.feed }[document.body.dataset.view].items;
  }

  neighbour(id, step) {
    const items = this.listed();
    const at = items.findIndex((item) => item.id === id);
    return at < 0 ? undefined : items[at + step];
  }

  async showCatalogue(focus, from) {
    const duplicates = this.state.view === "duplicates";
    document.body.dataset.view = duplicates ? "duplicates" : "browse";
    document.title = duplicates ? `${t("duplicates.title")} · ${t("brand")}` : t("brand");
    this.file = null;
    this.results.clear();
    this.recent.show();
    const shown = duplicates ? this.duplicates.show() : this.browse.show(this.state);
    if (focus) {
      window.scrollTo(0, 0);
      byId("main").focus({ preventScroll: true });
    }
    await shown;
    if (from === "history") this.place.restore();
    this.showDetail();
  }

  searchFailed(error, next, { from, file, focus }) {
    // The controls say what is shown, not what was wished for in vain; where nothing is shown, the
    // address does.
    if (from === "history" || !this.answered) this.state = file ? this.state : next;
    this.wanted = { state: this.state, file: null };
    this.settings.show(this.state);
    this.filters.show(this.state);
    if (from === "history" || !this.answered) {
      this.query.restore();
      this.showCatalogue(false);
    } else {
      this.unseen();
    }
    const large = error instanceof api.ApiError && error.status === 413 && file;
    const title = large ? t("failed.large", { name: file.name }) : file ? t("failed.file", { name: file.name }) : t("failed.search");
    this.failed(error, title, () => this.attempt(next, { from, file, focus }), true);
  }

  failed(error, title, again, choosing = false) {
    if (!(error instanceof api.ApiError)) throw error; // a fault of this page belongs in its console
    const actions = [];
    if (error.passing) actions.push([t("again"), again]);
    if (choosing) actions.push([t("choose.another"), () => byId("file").click()]);
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
    const words = `${error.parts.cause} ${t("waiting", { n: seconds, attempt, of })}`;
    byId("waiting")?.remove();
    byId("alert").before(element("p", { id: "waiting", class: "note" }, words));
    say(byId("status"), words);
  }
}

const FILTERS_WAIT = 3000; // milliseconds until columns that were not yet counted are asked for

function introduce(catalogue) {
  const about = [`${catalogue.name}, ${pictures(catalogue.pictures)}`];
  if (catalogue.note) about.push(catalogue.note);
  byId("about").textContent = about.join(" · ");
  byId("rate-link").hidden = !catalogue.rating;
  byId("duplicates-link").hidden = !catalogue.pictures;
  lead(catalogue.titles);
}

async function start() {
  document.body.classList.add("busy");
  // A link to a search shows the search's frame at once, not the catalogue's pictures first.
  if (isShared(fromLink(location.search, ""))) document.body.dataset.view = "search";
  try {
    const catalogue = await api.catalogue();
    introduce(catalogue);
    const page = new Page(catalogue);
    if (catalogue.pictures && !catalogue.columns.length) {
      setTimeout(async () => page.filters.fill((await api.catalogue()).columns), FILTERS_WAIT);
    }
    const shown = page.attempt(page.read(), { from: "history" });
    deliver({
      take: (file, others) => page.upload(file, others),
      address: (url) => page.address(url),
      find: (text) => page.attempt({ ...withoutQuery(page.wanted.state), text }),
    });
    await shown;
  } catch (error) {
    document.body.classList.remove("busy");
    if (!(error instanceof api.ApiError)) throw error;
    alert.show(t("failed.catalogue"), error.parts, [[t("again"), start]]);
  }
}

translate();
offerLanguages(byId("language"));
listen();
start();
