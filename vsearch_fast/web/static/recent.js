// The last searches of this browser, kept in it alone, until they are cleared.

import { going, picture } from "./card.js";
import { byId, element } from "./dom.js";
import { stored, store } from "./storage.js";

const PLACE = "vsearch-recent";
const MOST = 12;

function read() {
  try {
    const list = JSON.parse(stored("localStorage", PLACE) ?? "[]");
    return Array.isArray(list) ? list.filter(({ link, name }) => link && name) : [];
  } catch {
    return []; // not of this page
  }
}

export class Recent {
  // `go(link)`: make that search again.
  constructor({ go }) {
    this.go = go;
    byId("forget").addEventListener("click", () => {
      store("localStorage", PLACE, null);
      this.show();
      byId("main").focus({ preventScroll: true });
    });
  }

  // `source`: the picture, as thumbnails are asked for.
  add(link, name, source) {
    const others = read().filter((each) => JSON.stringify(each.source) !== JSON.stringify(source));
    store("localStorage", PLACE, JSON.stringify([{ link, name, source }, ...others].slice(0, MOST)));
  }

  drop(link) {
    store("localStorage", PLACE, JSON.stringify(read().filter((each) => each.link !== link)));
  }

  show() {
    const list = read();
    byId("recent").hidden = !list.length;
    byId("recent-list").replaceChildren(
      ...list.map(({ link, name, source }) =>
        element(
          "li",
          {},
          element("a", { href: link, click: going(() => this.go(link)) }, this.small(source, link), element("span", {}, name)),
        ),
      ),
    );
  }

  small(source, link) {
    const frame = picture(source, "", 112);
    // The server keeps uploads for a while: what is gone can be searched by no more.
    const image = frame.querySelector("img");
    image?.addEventListener("error", () => {
      this.drop(link);
      frame.closest("li")?.remove();
      byId("recent").hidden = !byId("recent-list").children.length;
    });
    return frame;
  }
}

export const recentSource = (state) => (state.query ? { query: state.query } : { id: state.id });
