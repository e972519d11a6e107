// Rating: one task after the other, a key for each answer.
//
// Tasks are numbered, and answered in their order. The page knows a few ahead and shows the next
// one at once; answers travel behind (rate-outbox.js), and what the server says of the rater's
// place counts as soon as none is under way.

import { Alert } from "./alert.js";
import { call } from "./api.js";
import { byId, element, say } from "./dom.js";
import { offerLanguages, t, translate } from "./i18n.js";
import { Outbox, post } from "./rate-outbox.js";
import { Pictures } from "./rate-pictures.js";
import { store, stored } from "./storage.js";

const NICKNAME = "vsearch-rate-nickname";
const KEYS = "vsearch-rate-keys";

// The answer (its words are rate.ANSWER), its keys, and the key that is shown.
const ANSWERS = {
  match: [
    ["same", ["1"], "1"],
    ["similar", ["2"], "2"],
    ["different", ["3"], "3"],
    ["unsure", ["0", "?"], "0"],
  ],
  better: [
    ["left", ["ArrowLeft"], "←"],
    ["equal", ["ArrowDown"], "↓"],
    ["right", ["ArrowRight"], "→"],
    ["unsure", ["0", "?"], "0"],
  ],
};
const KEPT_BEHIND = 5; // tasks whose pictures stay for undo

const alert = new Alert();
const sections = ["welcome", "task", "finished"].map(byId);

function only(section) {
  for (const each of sections) each.hidden = each !== section;
}

// What is said of a request that was given up.
const slow = () => ({ cause: t("rate.slow"), cure: t("rate.slow.cure") });

class Session {
  constructor(study, nickname, ended) {
    this.nickname = nickname;
    this.ended = ended;
    this.tasks = new Map(); // by number
    this.pictures = new Map();
    this.at = 1; // the number of the task that is shown, or is to be
    this.total = study.judgements_total;
    this.shown = null;
    this.early = false; // somebody answered before the pictures were there
    this.closed = false;
    this.mode = null;
    this.outbox = new Outbox({
      study: study.id,
      nickname,
      acknowledged: (progress) => this.acknowledged(progress),
      waiting: (count, error, again) => this.waiting(count, error, again),
      refused: (error) => this.refused(error),
    });
  }

  start() {
    if (this.outbox.empty) this.refresh();
    else this.outbox.send(); // and go on from the answer to the last
  }

  close() {
    this.closed = true;
    this.outbox.close();
    this.waiting(0, null);
  }

  async refresh() {
    const { added } = this.outbox;
    try {
      const asked = new URLSearchParams({ nickname: this.nickname });
      const progress = await call(`api/rate/next?${asked}`);
      // What was answered meanwhile has an answer of its own, and this one may be of before.
      if (!this.closed && this.outbox.added === added) this.acknowledged(progress);
    } catch (error) {
      if (!this.closed) this.failed(error, t("rate.lost"), [[t("again"), () => this.refresh()]]);
    }
  }

  acknowledged({ done, total, task, upcoming }) {
    this.total = total;
    for (const each of [task, ...upcoming]) if (each) this.learn(each);
    if (this.outbox.empty) this.at = done + 1;
    for (const number of this.pictures.keys()) {
      if (number < this.at - KEPT_BEHIND) this.pictures.delete(number);
    }
    this.show();
  }

  learn(task) {
    this.tasks.set(task.number, task);
    this.picturesOf(task);
  }

  picturesOf(task) {
    let pictures = this.pictures.get(task.number);
    if (!pictures) {
      pictures = new Pictures(task);
      this.pictures.set(task.number, pictures);
      pictures.ready.then(() => this.mark());
    }
    return pictures;
  }

  // Whether what is shown can be judged, and how many tasks behind it could be at once.
  mark() {
    if (this.closed) return;
    const settled = (number) => this.pictures.get(number)?.settled ?? false;
    const unseen = this.shown === null || !settled(this.shown);
    let ahead = 0;
    while (!unseen && settled(this.shown + ahead + 1)) ahead += 1;
    const region = byId("pictures");
    region.setAttribute("aria-busy", String(unseen));
    region.dataset.ahead = ahead;
    this.early &&= unseen;
    byId("wait").textContent = t(this.early ? "rate.wait" : "rate.loading");
    byId("wait").hidden = this.at > this.total || !(this.early || this.shown === null);
  }

  // Shows the task that is due, unless it is shown already.
  show() {
    const done = this.at - 1;
    byId("progress").max = this.total;
    byId("progress").value = done;
    byId("place").textContent = t("rate.place", { at: Math.min(this.at, this.total), total: this.total });
    byId("undo").disabled = done === 0;
    byId("undo-last").hidden = done === 0;
    if (done >= this.total) return this.finish();
    only(byId("task"));
    const task = this.tasks.get(this.at);
    if (!task) {
      this.shown = null;
      byId("pictures").replaceChildren();
      this.mark();
      return undefined;
    }
    if (this.shown === this.at) return undefined;
    this.shown = this.at;
    this.early = false;
    byId("pictures").replaceChildren(this.picturesOf(task).element);
    this.mark();
    if (this.mode !== task.mode) this.ask(task.mode);
    const place = t("rate.place", { at: this.at, total: this.total });
    say(byId("status"), `${this.said ?? ""}${place}. ${t(`rate.question.${task.mode}`)}`);
    this.said = "";
    return undefined;
  }

  // The question and its answers, when they change.
  ask(mode) {
    this.mode = mode;
    byId("question").textContent = t(`rate.question.${mode}`);
    const had = byId("answers").contains(document.activeElement);
    byId("answers").replaceChildren(
      ...ANSWERS[mode].map(([answer, keys, key]) =>
        element(
          "button",
          {
            type: "button",
            class: "button",
            "data-answer": answer,
            "aria-keyshortcuts": keys.join(" "),
            click: () => this.judge(answer),
          },
          t(`rate.${answer}`),
          element("kbd", { "aria-hidden": "true" }, key),
        ),
      ),
    );
    if (had) byId("question").focus();
  }

  finish() {
    this.shown = null;
    if (!this.outbox.empty) {
      // Thanked for only when everything has arrived.
      byId("pictures").replaceChildren();
      this.mark();
      return undefined;
    }
    const first = byId("finished").hidden;
    byId("finished-text").textContent = this.total
      ? t("rate.thanks", { name: this.nickname, total: this.total })
      : t("rate.nothing");
    only(byId("finished"));
    if (first) byId("finished-title").focus();
    return undefined;
  }

  judge(answer) {
    const number = this.at;
    if (number > this.total) return;
    if (this.shown !== number || !this.pictures.get(number).settled) {
      // Nobody can judge what is not yet to be seen: the answer is not kept, and that is said.
      this.early = true;
      this.mark();
      say(byId("status"), t("rate.wait"));
      return;
    }
    this.flash(answer);
    alert.clear();
    this.said = `${t(`rate.${answer}`)}. `;
    this.at += 1;
    this.outbox.add("judgements", { number, answer });
    this.show();
  }

  undo() {
    if (this.at === 1) {
      say(byId("status"), t("rate.undo.none"));
      return;
    }
    alert.clear();
    this.said = `${t("rate.undone")} `;
    this.at -= 1;
    this.outbox.add("undo", { number: this.at });
    this.show();
  }

  flash(answer) {
    const button = byId("answers").querySelector(`[data-answer="${answer}"]`);
    button.classList.add("given");
    setTimeout(() => button.classList.remove("given"), 160);
  }

  waiting(count, error, again) {
    const region = byId("unsent");
    region.hidden = count === 0 || !error;
    if (region.hidden) {
      region.replaceChildren();
      return;
    }
    const why = error.parts?.cause ?? t("rate.slow");
    region.replaceChildren(
      `${why} ${t("rate.unsent", { n: count })}`,
      element("button", { type: "button", class: "button", click: again }, t("rate.send")),
    );
  }

  // An answer that the server will never take, such as one to a task that another window
  // answered: what it has instead is shown.
  refused(error) {
    this.failed(error, t("rate.refused"), []);
    if (error.status !== 401) this.refresh();
  }

  failed(error, title, actions) {
    // The rater is not (or no longer) in the file.
    if (error.code === "no_such_item") this.ended();
    else alert.show(title, error.parts ?? slow(), actions);
  }
}

class Page {
  constructor(study) {
    this.study = study;
    this.session = null;
    byId("explained").textContent = t(`rate.explained.${study.mode}`);
    byId("nickname").value = stored("localStorage", NICKNAME) ?? "";
    byId("join").addEventListener("submit", (event) => {
      event.preventDefault();
      this.join(byId("nickname").value);
    });
    byId("leave").addEventListener("click", () => this.leave());
    byId("undo").addEventListener("click", () => this.session?.undo());
    byId("undo-last").addEventListener("click", () => this.session?.undo());
    byId("keys").checked = stored("localStorage", KEYS) !== "off";
    byId("keys").addEventListener("change", () => this.keysChanged());
    this.keysChanged();
    window.addEventListener("keydown", (event) => this.key(event));
    // A page loaded again goes on by itself; one that is newly opened asks who is there.
    const nickname = stored("sessionStorage", NICKNAME);
    if (nickname) this.join(nickname);
    else this.welcome();
  }

  welcome() {
    only(byId("welcome"));
    byId("who").hidden = true;
    byId("leave").hidden = true;
    byId("language").hidden = false;
    byId("nickname").focus();
  }

  async join(nickname) {
    try {
      const rater = await post("raters", { nickname });
      alert.clear();
      store("localStorage", NICKNAME, rater.nickname);
      store("sessionStorage", NICKNAME, rater.nickname);
      byId("who").textContent = rater.nickname;
      byId("who").hidden = false;
      byId("leave").hidden = false;
      byId("language").hidden = true; // the line is short on a phone
      this.session?.close();
      this.session = new Session(this.study, rater.nickname, () => this.leave());
      this.session.start();
    } catch (error) {
      this.welcome();
      alert.show(t("rate.not_in"), error.parts ?? slow());
    }
  }

  leave() {
    this.session?.close();
    this.session = null;
    store("sessionStorage", NICKNAME, null);
    this.welcome();
  }

  keysChanged() {
    const on = byId("keys").checked;
    document.body.classList.toggle("without-keys", !on);
    store("localStorage", KEYS, on ? null : "off");
  }

  key(event) {
    const { session } = this;
    // A key held down is one answer, not many.
    if (!session || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return; // the pictures are hidden behind it
    if (event.target.matches?.("input:not([type=checkbox]), textarea, select")) return;
    if (!byId("keys").checked) return;
    if (event.key === "Backspace" || event.key.toLowerCase() === "u") {
      event.preventDefault();
      session.undo();
      return;
    }
    if (byId("task").hidden || !session.mode) return;
    const found = ANSWERS[session.mode].find(([, keys]) => keys.includes(event.key));
    if (!found) return;
    event.preventDefault();
    session.judge(found[0]);
  }
}

async function begin() {
  try {
    new Page(await call("api/rate/study"));
  } catch (error) {
    const parts = error.parts ?? { cause: String(error) };
    alert.show(t("rate.no_study"), parts, [[t("again"), () => location.reload()]]);
  }
}

translate();
offerLanguages(byId("language"));
document.title = t("rate.title");
begin();
