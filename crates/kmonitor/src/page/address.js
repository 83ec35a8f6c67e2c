// The address holds what is shown: which module, what is searched, how it is sorted. So it can be shared, and the back button
// goes where one was.

const NAMES = ["cluster", "module", "search", "state", "sort"];

/** What the address says; what is absent is "". */
export function read() {
  const parameters = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.map((name) => [name, parameters.get(name) ?? ""]));
}

/** The address of a place, relative to the page, which may lie below any path. */
export function link(place) {
  const filled = NAMES.filter((name) => place[name]);
  const parameters = new URLSearchParams(filled.map((name) => [name, place[name]]));
  return filled.length === 0 ? "./" : `?${parameters}`;
}

/** Goes to a place: as a new entry of the history, or in the stead of the present one. */
export function go(place, isNew) {
  if (isNew) {
    remember();
    history.pushState({ scroll: 0 }, "", link(place));
  } else {
    history.replaceState({ scroll: scrollY }, "", link(place));
  }
}

/** Keeps with the present entry how far it is scrolled. */
export function remember() {
  history.replaceState({ scroll: scrollY }, "");
}

/** Whether a place shows one module. */
export const isModule = (place) => place.module !== "" && place.cluster !== "";
