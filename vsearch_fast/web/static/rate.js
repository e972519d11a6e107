// Rating: one task after the other, a key for each answer.
//
// Tasks are numbered, and answered in their order. The page knows a few ahead and shows the next
// one at once; answers travel behind (rate-outbox.js), and what the server says of the rater's
// place counts as soon as none is under way.

import { Alert } from "./alert.js";
import { call } from "./api.js";
import { byId, element, say } from "./dom.js";
import { Outbox, post } from "./rate-outbox.js";
import { Pictures } from "./rate-pictures.js";
import { store, stored } from "./storage.js";

const NICKNAME = "vsearch-rate-nickname";
const KEYS = "vsearch-rate-keys";

const QUESTIONS = {
  match: "Is this the same item?",
  better: "Which row shows the better matches?",
};
// The answer, its words, its keys, and the key that is shown.
const ANSWERS = {
  match: [
    ["same", "Same item", ["1"], "1"],
    ["similar", "Similar", ["2"], "2"],
    ["different", "Different", ["3"], "3"],
    ["unsure", "Can't say", ["0", "?"], "0"],
  ],
  better: [
    ["left", "A is better", ["ArrowLeft"], "←"],
    ["equal", "Equally good", ["ArrowDown"], "↓"],
    ["right", "B is better", ["ArrowRight"], "→"],
    ["unsure", "Can't say", ["0", "?"], "0"],
  ],
};
const EXPLAINED = {
  match: "You will see two pictures at a time: one that was searched with, and one that was found. " +
    "Say whether they show the same item, a similar one, or a different one.",
  better: "You will see a picture that was searched with beside two rows of matches, A and B, best first. " +
    "Say which row is better.",
  both: "You will see what was found for a picture: sometimes two rows of matches, of which you " +
    "choose the better one; sometimes one match, of which you say whether it is the same item.",
};
const KEPT_BEHIND = 5; // tasks whose pictures stay for undo

const alert = new Alert();
const sections = ["welcome", "task", "finished"].map(byId);

function only(section) {
  for (const each of sections) each.hidden = each !== section;
}

class Session {
  constructor(study, nickname, ended) {
    this.nickname = nickname;
    this.ended = ended;
    this.tasks = new Map(); // by number
    this.pictures = new Map();
    this.at = 1; // the number of the task that is shown, or is to be
    this.total = study.judgements_total;
    this.shown = null;
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
    this.outbox.close();
    this.waiting(0, null);
  }

  async refresh() {
    try {
      const asked = new URLSearchParams({ nickname: this.nickname });
      this.acknowledged(await call(`api/rate/next?${asked}`));
    } catch (error) {
      this.failed(error, "Your place was not found", [["Try again", () => this.refresh()]]);
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
    if (!this.pictures.has(task.number)) this.pictures.set(task.number, new Pictures(task));
  }

  // Shows the task that is due, unless it is shown already.
  show() {
    const done = this.at - 1;
    byId("progress").max = this.total;
    byId("progress").value = done;
    byId("place").textContent = `${Math.min(this.at, this.total)} of ${this.total}`;
    byId("undo").disabled = done === 0;
    byId("undo-last").hidden = done === 0;
    if (done >= this.total) return this.finish();
    only(byId("task"));
    const task = this.tasks.get(this.at);
    byId("wait").hidden = task !== undefined;
    if (!task) {
      this.shown = null;
      byId("pictures").replaceChildren();
      return undefined;
    }
    if (this.shown === this.at) return undefined;
    this.shown = this.at;
    if (!this.pictures.has(this.at)) this.pictures.set(this.at, new Pictures(task));
    const pictures = this.pictures.get(this.at);
    byId("pictures").replaceChildren(pictures.element);
    if (this.mode !== task.mode) this.ask(task.mode);
    say(byId("status"), `${this.said ?? ""}${this.at} of ${this.total}. ${QUESTIONS[task.mode]}`);
    this.said = "";
    return undefined;
  }

  // The question and its answers, when they change.
  ask(mode) {
    this.mode = mode;
    byId("question").textContent = QUESTIONS[mode];
    const had = byId("answers").contains(document.activeElement);
    byId("answers").replaceChildren(
      ...ANSWERS[mode].map(([answer, words, keys, key]) =>
        element(
          "button",
          {
            type: "button",
            class: "button",
            "data-answer": answer,
            "aria-keyshortcuts": keys.join(" "),
            click: () => this.judge(answer),
          },
          words,
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
      return undefined;
    }
    const first = byId("finished").hidden;
    byId("finished-text").textContent = this.total
      ? `${this.nickname}, you have judged all ${this.total}. Every answer is saved.`
      : "There is nothing to judge: all systems found the same.";
    only(byId("finished"));
    if (first) byId("finished-title").focus();
    return undefined;
  }

  judge(answer) {
    const number = this.at;
    if (this.shown !== number || !this.pictures.get(number).settled) {
      // Nobody can judge what is not yet to be seen.
      say(byId("status"), "The pictures are still loading. Answer when you see them.");
      return;
    }
    const [, words] = ANSWERS[this.mode].find(([name]) => name === answer);
    this.flash(answer);
    alert.clear();
    this.said = `${words}. `;
    this.at += 1;
    this.outbox.add("judgements", { number, answer });
    this.show();
  }

  undo() {
    if (this.at === 1) {
      say(byId("status"), "There is nothing to undo.");
      return;
    }
    alert.clear();
    this.said = "Undone. ";
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
    const what = count === 1 ? "One answer is" : `${count} answers are`;
    const why = error.parts?.cause ?? "The server did not answer in time.";
    region.replaceChildren(
      `${why} ${what} kept in this browser and sent again until saved.`,
      element("button", { type: "button", class: "button", click: again }, "Send now"),
    );
  }

  // An answer that the server will never take, such as one to a task that another window
  // answered: what it has instead is shown.
  refused(error) {
    this.failed(error, "Your last answer was not taken", []);
    if (error.status !== 401) this.refresh();
  }

  failed(error, title, actions) {
    const parts = error.parts ?? { cause: "The server did not answer in time.", cure: "Try again." };
    if (error.status === 404 && parts.cause.startsWith("There is no rater")) this.ended();
    else alert.show(title, parts, actions);
  }
}

class Page {
  constructor(study) {
    this.study = study;
    this.session = null;
    byId("explained").textContent = EXPLAINED[study.mode];
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
      this.session?.close();
      this.session = new Session(this.study, rater.nickname, () => this.leave());
      this.session.start();
    } catch (error) {
      this.welcome();
      const parts = error.parts ?? { cause: "The server did not answer in time.", cure: "Try again." };
      alert.show("You are not in yet", parts);
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
    const found = ANSWERS[session.mode].find(([, , keys]) => keys.includes(event.key));
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
    alert.show("The study was not loaded", parts, [["Try again", () => location.reload()]]);
  }
}

begin();
