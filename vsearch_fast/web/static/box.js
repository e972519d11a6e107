// The box over the query picture: dragged, resized, drawn anew, or moved with the keyboard.
// It knows pixels of the upright picture only; the stylesheet's percentages do the scaling.

import { t } from "./i18n.js";

const SMALLEST = 8; // pixels; a smaller part shows nothing a network could know
const KEYBOARD_STEP = 0.02; // of the picture's side
const KEYBOARD_REST = 600; // milliseconds without a key until the new box is searched

const ARROWS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Both functions keep a box of at least the smallest size inside a picture of this size.
export function moved([x1, y1, x2, y2], dx, dy, [width, height]) {
  const right = clamp(dx, -x1, width - x2);
  const down = clamp(dy, -y1, height - y2);
  return [x1 + right, y1 + down, x2 + right, y2 + down];
}

export function resized([x1, y1, x2, y2], dx, dy, edges, [width, height]) {
  const least = [Math.min(SMALLEST, width), Math.min(SMALLEST, height)];
  return [
    edges.includes("w") ? clamp(x1 + dx, 0, x2 - least[0]) : x1,
    edges.includes("n") ? clamp(y1 + dy, 0, y2 - least[1]) : y1,
    edges.includes("e") ? clamp(x2 + dx, x1 + least[0], width) : x2,
    edges.includes("s") ? clamp(y2 + dy, y1 + least[1], height) : y2,
  ];
}

// The box between the point where drawing began and where the pointer is.
export function drawn([ax, ay], [bx, by], size) {
  const [width, height] = size;
  const inside = [clamp(bx, 0, width), clamp(by, 0, height)];
  return [
    Math.min(ax, inside[0]),
    Math.min(ay, inside[1]),
    Math.max(ax, inside[0]),
    Math.max(ay, inside[1]),
  ];
}

export class BoxEditor {
  // `changed(box)`: the person is done with a change; `speak(text)`: say it aloud.
  constructor({ stage, box, changed, speak }) {
    Object.assign(this, { stage, element: box, changed, speak });
    this.value = null;
    this.drag = null;
    stage.addEventListener("pointerdown", (event) => this.begin(event));
    stage.addEventListener("pointermove", (event) => this.follow(event));
    stage.addEventListener("pointerup", (event) => this.end(event));
    stage.addEventListener("pointercancel", (event) => this.end(event, false));
    box.addEventListener("keydown", (event) => this.key(event));
  }

  // A change in progress on this picture outlives the answer to the change before it.
  show(size, box, samePicture = false) {
    if (samePicture && (this.drag || this.rest)) return;
    this.calm();
    this.size = size;
    this.place(box ?? [0, 0, ...size]);
    this.element.hidden = false;
  }

  // Forget a change that was not finished.
  calm() {
    clearTimeout(this.rest);
    this.rest = null;
    this.drag = null;
    this.element.classList.remove("dragged");
  }

  get words() {
    const [x1, y1, x2, y2] = this.value;
    return t("box.place", {
      width: String(x2 - x1), height: String(y2 - y1), left: String(x1), top: String(y1),
    });
  }

  place(box) {
    this.value = box.map(Math.round);
    const [x1, y1, x2, y2] = this.value;
    const [width, height] = this.size;
    const { style } = this.element;
    style.left = `${(100 * x1) / width}%`;
    style.top = `${(100 * y1) / height}%`;
    style.width = `${(100 * (x2 - x1)) / width}%`;
    style.height = `${(100 * (y2 - y1)) / height}%`;
  }

  point(event) {
    const area = this.stage.getBoundingClientRect();
    return [
      ((event.clientX - area.left) / area.width) * this.size[0],
      ((event.clientY - area.top) / area.height) * this.size[1],
    ];
  }

  begin(event) {
    if (this.element.hidden || event.button !== 0 || !event.isPrimary) return;
    const edges = event.target.dataset.edges ?? "";
    const inside = this.element.contains(event.target);
    // A finger outside the box scrolls the page; a mouse or pen there draws a new box.
    if (!inside && event.pointerType === "touch") return;
    event.preventDefault();
    this.element.focus({ preventScroll: true });
    this.stage.setPointerCapture(event.pointerId);
    this.calm();
    this.drag = { pointer: event.pointerId, from: this.point(event), box: this.value, edges, inside };
    this.element.classList.add("dragged");
  }

  follow(event) {
    if (event.pointerId !== this.drag?.pointer) return;
    const { from, box, edges, inside } = this.drag;
    const now = this.point(event);
    const dx = now[0] - from[0];
    const dy = now[1] - from[1];
    if (!inside) this.place(drawn(from, now, this.size));
    else if (edges) this.place(resized(box, dx, dy, edges, this.size));
    else this.place(moved(box, dx, dy, this.size));
  }

  end(event, keep = true) {
    if (event.pointerId !== this.drag?.pointer) return;
    const before = this.drag.box;
    this.drag = null;
    this.element.classList.remove("dragged");
    const [x1, y1, x2, y2] = this.value;
    // A click beside the box, or a box too small to mean anything: as if nothing had been.
    const least = this.size.map((side) => Math.min(SMALLEST, side));
    if (!keep || x2 - x1 < least[0] || y2 - y1 < least[1]) this.place(before);
    if (String(this.value) !== String(before)) this.done();
  }

  key(event) {
    const direction = ARROWS[event.key];
    if (event.key === "Escape" && this.drag) {
      this.place(this.drag.box);
      this.calm();
      return;
    }
    if (!direction || event.altKey || event.metaKey) return;
    event.preventDefault(); // arrows would scroll the page
    const step = this.size.map((side) => (event.ctrlKey ? 1 : Math.max(1, Math.round(side * KEYBOARD_STEP))));
    const [dx, dy] = [direction[0] * step[0], direction[1] * step[1]];
    const before = String(this.value);
    this.place(
      event.shiftKey
        ? resized(this.value, dx, dy, "se", this.size)
        : moved(this.value, dx, dy, this.size),
    );
    if (String(this.value) === before) return;
    clearTimeout(this.rest); // one search for a run of keys
    this.rest = setTimeout(() => this.done(), KEYBOARD_REST);
  }

  done() {
    this.rest = null;
    this.speak(this.words);
    this.changed(this.value);
  }
}
