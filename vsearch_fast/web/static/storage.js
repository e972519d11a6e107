// What the browser remembers. Storage may be refused (a private window, a policy): the page then
// works, without remembering.

export function stored(storage, name) {
  try {
    return window[storage].getItem(name);
  } catch {
    return null;
  }
}

// Whether it is remembered. null forgets.
export function store(storage, name, value) {
  try {
    if (value === null) window[storage].removeItem(name);
    else window[storage].setItem(name, value);
    return true;
  } catch {
    return false;
  }
}
