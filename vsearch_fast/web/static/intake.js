// The ways a picture comes in: chosen, photographed, dropped, pasted; and what cannot come in. And
// words to find items by.

import { byId } from "./dom.js";

const types = (event) => [...(event.dataTransfer?.types ?? [])];
const carriesFiles = (event) => types(event).includes("Files");
const carriesAddress = (event) => types(event).includes("text/uri-list");

const isPicture = ({ type }) => type.startsWith("image/");

// Whether a person is writing: a paste there is text.
const writes = (target) => target.closest?.("input, textarea, [contenteditable]");

let page = null;
let last = null;

function give(kind, ...what) {
  if (page) page[kind](...what);
  else last = [kind, what];
}

const take = (file, others) => give("take", file, others);
const address = (url) => give("address", url);

// To whom it goes. What came before the page was ready has waited for it; of several things the
// last.
// `take(file, others)`: the file to search by, and those that came with it; `address(url)`: an
// address was pasted or dropped in place of a picture; `find(text)`: words were sent.
export function deliver(to) {
  page = to;
  if (last) page[last[0]](...last[1]);
  last = null;
}

export function listen() {
  byId("find").addEventListener("submit", (event) => {
    event.preventDefault();
    give("find", byId("text").value.trim());
  });

  for (const input of [byId("file"), byId("camera")]) {
    input.addEventListener("change", () => {
      const [file] = input.files;
      if (file) take(file, []);
      input.value = ""; // the same file may be chosen again
    });
  }

  // Entering a child leaves its parent: only the balance tells whether the drag is still here.
  const veil = byId("drop-veil");
  let depth = 0;
  let own = false; // a link of this page is dragged within it
  const lift = () => {
    depth = 0;
    veil.hidden = true;
  };
  const wanted = (event) => !own && (carriesFiles(event) || carriesAddress(event));
  document.addEventListener("dragstart", () => {
    own = true;
  });
  document.addEventListener("dragend", () => {
    own = false;
  });
  document.addEventListener("dragenter", (event) => {
    if (!wanted(event)) return;
    depth += 1;
    veil.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!wanted(event)) return;
    depth -= 1;
    if (depth <= 0) lift();
  });
  document.addEventListener("dragover", (event) => {
    // Without this the browser would open the file in place of the page.
    if (wanted(event)) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    lift();
    if (!wanted(event)) return;
    event.preventDefault();
    // A picture of another page may come as a file, as an address, or as both.
    const files = [...event.dataTransfer.files];
    const first = files.find(isPicture) ?? files[0];
    if (first) take(first, files.filter((file) => file !== first));
    else address(event.dataTransfer.getData("text/uri-list").split("\n")[0].trim());
  });

  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter(isPicture);
    if (files.length) {
      event.preventDefault();
      take(files[0], files.slice(1));
      return;
    }
    if (writes(event.target)) return;
    const text = event.clipboardData?.getData("text/plain").trim() ?? "";
    if (!/^(https?|data|blob|file):\S+$/i.test(text)) return;
    event.preventDefault();
    address(text);
  });
}
