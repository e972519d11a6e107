// The ways a picture file comes in: chosen, photographed, dropped, pasted.

import { byId } from "./dom.js";

const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

// `take(file, others)`: the file, and how many more came with it.
export function listen(take) {
  for (const input of [byId("file"), byId("camera")]) {
    input.addEventListener("change", () => {
      const [file] = input.files;
      if (file) take(file, 0);
      input.value = ""; // the same file may be chosen again
    });
  }

  // Entering a child leaves its parent: only the balance tells whether the drag is still here.
  const veil = byId("drop-veil");
  let depth = 0;
  const lift = () => {
    depth = 0;
    veil.hidden = true;
  };
  document.addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    depth += 1;
    veil.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!carriesFiles(event)) return;
    depth -= 1;
    if (depth <= 0) lift();
  });
  document.addEventListener("dragover", (event) => {
    // Without this the browser would open the file in place of the page.
    if (carriesFiles(event)) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    lift();
    if (!carriesFiles(event)) return;
    event.preventDefault();
    const { files } = event.dataTransfer;
    if (files.length) take(files[0], files.length - 1);
  });

  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (!file) return; // text for a field of the page
    event.preventDefault();
    take(file, 0);
  });
}
