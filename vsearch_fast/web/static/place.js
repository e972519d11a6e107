// Where a person is on the page: kept with each place of the history, and found again by Back.

const cardOf = (id) => document.querySelector(`.found li[data-id="${CSS.escape(id)}"] .open`);

export class Place {
  constructor() {
    history.scrollRestoration = "manual"; // the grid is not there yet when the browser would scroll
  }

  // Before another place is gone to.
  keep() {
    const focus = document.activeElement?.closest?.("li[data-id]")?.dataset.id ?? "";
    history.replaceState({ ...history.state, focus, scroll: window.scrollY }, "");
  }

  restore() {
    const { focus, scroll } = history.state ?? {};
    if (scroll !== undefined) window.scrollTo(0, scroll);
    if (focus) this.focus(focus);
  }

  focus(id) {
    cardOf(id)?.focus({ preventScroll: true });
  }
}
