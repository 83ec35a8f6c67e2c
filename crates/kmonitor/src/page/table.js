// A sorted table of any length. Only the rows that can be seen are in the document, between two empty ones that are as high
// as all others; rows stay the same elements while their numbers change. The arrow keys go from row to row.

import { element, setAttribute } from "./dom.js";
import { ordered, parse } from "./order.js";

/** Rows beyond each edge of the window. */
const BEYOND = 8;

/** The height of a row before one has been measured. */
const GUESS = 44;

const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };

/** One row's elements. */
class Row {
  constructor(columns) {
    this.node = element("tr");
    this.updates = columns.map((column) => {
      const cell = element(column.isHead ? "th" : "td", { class: `c-${column.id}`, scope: column.isHead ? "row" : null });
      this.node.append(cell);
      return column.cell(cell);
    });
  }

  update(item, context) {
    // Scrolling shows the same again.
    if (this.item === item && this.context === context) return;
    this.item = item;
    this.context = context;
    setAttribute(this.node, "data-state", item.state);
    for (const update of this.updates) update(item, context);
  }

  /** What takes the focus for the row: its link, or else itself. */
  get target() {
    return this.node.querySelector("a") ?? this.node;
  }
}

/** Columns are `{id, title, value(item), cell(td) => update(item, context), isNumber, isHead, hint}`. */
export class Table {
  #node;
  #columns;
  #values;
  #key;
  #ties;
  #headers = new Map();
  #body = element("tbody");
  #above;
  #below;
  #shown = new Map();
  #items = [];
  #index = new Map();
  #context = null;
  #active = null;
  #height = GUESS;
  #frame = 0;

  /** `ties`: how rows are sorted that the chosen column leaves equal. */
  constructor(node, { columns, key, ties, sort }) {
    this.#node = node;
    this.#columns = columns;
    this.#values = Object.fromEntries(columns.map((column) => [column.id, column.value]));
    this.#key = key;
    this.#ties = ties;
    this.#above = this.#spacer();
    this.#below = this.#spacer();
    this.#body.append(this.#above, this.#below);
    const head = element("tr", { "aria-rowindex": "1" });
    for (const column of columns) head.append(this.#header(column, sort));
    node.append(element("thead", {}, head), this.#body);
    addEventListener("scroll", () => this.#later(), { passive: true });
    addEventListener("resize", () => this.#later(), { passive: true });
    this.#body.addEventListener("keydown", (event) => this.#keydown(event));
    this.#body.addEventListener("focusin", (event) => this.#focused(event));
    this.#body.addEventListener("click", (event) => this.#click(event));
  }

  // One cell only: over several it would give room to columns that a narrow window hides.
  #spacer() {
    return element("tr", { class: "spacer", "aria-hidden": "true" }, element("td"));
  }

  #header(column, sort) {
    const mark = element("span", { class: "arrow", "aria-hidden": "true" });
    const button = element("button", { type: "button", title: column.hint ?? null }, column.title, mark);
    const node = element("th", { scope: "col", class: `c-${column.id}` }, button);
    button.addEventListener("click", () => {
      const now = parse(this.#context.sort);
      const first = column.isNumber ? -1 : 1;
      const sign = now.id === column.id ? -now.sign : first;
      sort(sign < 0 ? `-${column.id}` : column.id);
    });
    this.#headers.set(column.id, { node, mark });
    return node;
  }

  /** Whether a sort names one of the columns. */
  knows(sort) {
    return this.#headers.has(parse(sort).id);
  }

  /** Gives the focus back to the row that had it last, if it can be seen. */
  focus(options) {
    this.#shown.get(this.#active)?.target.focus(options);
  }

  /** Shows these items; `context.sort` is the order, and cells get the context. */
  show(items, context) {
    this.#context = context;
    const ties = this.#ties.filter((tie) => parse(tie).id !== parse(context.sort).id);
    this.#items = ordered(items, [context.sort, ...ties], this.#values);
    this.#index = new Map(this.#items.map((item, index) => [this.#key(item), index]));
    const chosen = parse(context.sort);
    for (const [id, { node, mark }] of this.#headers) {
      const way = chosen.sign < 0 ? "descending" : "ascending";
      setAttribute(node, "aria-sort", id === chosen.id ? way : null);
      mark.textContent = id === chosen.id ? (chosen.sign < 0 ? "▼" : "▲") : "";
    }
    setAttribute(this.#node, "aria-rowcount", String(this.#items.length + 1));
    if (!this.#index.has(this.#active)) this.#active = null;
    this.#render();
  }

  #later() {
    if (this.#frame !== 0 || this.#node.hidden) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#render();
    });
  }

  #window() {
    const top = this.#body.getBoundingClientRect().top;
    const last = Math.ceil((innerHeight - top) / this.#height) + BEYOND;
    const first = Math.floor(-top / this.#height) - BEYOND;
    const within = (index) => Math.min(this.#items.length, Math.max(0, index));
    return { first: within(first), last: within(last) };
  }

  #render() {
    if (this.#node.hidden) return;
    const { first, last } = this.#window();
    const wanted = this.#items.slice(first, last);
    // The row with the focus stays in the document wherever it is, out of sight beyond the edge.
    const focused = this.#body.contains(document.activeElement) ? this.#index.get(this.#active) : undefined;
    const isAbove = focused < first;
    const isBelow = focused >= last;
    if (isAbove) wanted.unshift(this.#items[focused]);
    if (isBelow) wanted.push(this.#items[focused]);
    this.#above.firstChild.style.height = `${(first - (isAbove ? 1 : 0)) * this.#height}px`;
    this.#below.firstChild.style.height = `${(this.#items.length - last - (isBelow ? 1 : 0)) * this.#height}px`;
    this.#place(wanted);
    this.#measure();
  }

  #place(wanted) {
    const keep = document.activeElement;
    const before = this.#shown;
    this.#shown = new Map();
    const spare = [];
    const keys = new Set(wanted.map(this.#key));
    for (const [key, row] of before) if (!keys.has(key)) spare.push(row);
    let place = this.#above.nextElementSibling;
    const entry = this.#active ?? (this.#items.length > 0 ? this.#key(this.#items[0]) : null);
    for (const item of wanted) {
      const key = this.#key(item);
      const row = before.get(key) ?? spare.pop() ?? new Row(this.#columns);
      this.#shown.set(key, row);
      row.update(item, this.#context);
      row.key = key;
      setAttribute(row.node, "aria-rowindex", String(this.#index.get(key) + 2));
      setAttribute(row.target, "tabindex", key === entry ? "0" : "-1");
      if (row.node === place) place = place.nextElementSibling;
      else this.#body.insertBefore(row.node, place);
    }
    for (const row of spare) row.node.remove();
    // An element that is moved loses the focus.
    if (keep !== document.activeElement && this.#body.contains(keep)) keep.focus({ preventScroll: true });
  }

  #measure() {
    const row = this.#above.nextElementSibling;
    if (row === this.#below) return;
    const height = row.getBoundingClientRect().height;
    if (height > 0 && Math.abs(height - this.#height) > 0.01) {
      this.#height = height;
      this.#later();
    }
  }

  #rowOf(event) {
    const node = event.target.closest("tr");
    return [...this.#shown.values()].find((row) => row.node === node);
  }

  #focused(event) {
    const row = this.#rowOf(event);
    if (row === undefined || row.key === this.#active) return;
    this.#active = row.key;
    for (const one of this.#shown.values()) setAttribute(one.target, "tabindex", one === row ? "0" : "-1");
  }

  #keydown(event) {
    const step = STEPS[event.key];
    const now = this.#index.get(this.#active);
    if (step === undefined || now === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const next = Math.min(this.#items.length - 1, Math.max(0, now + step));
    this.#active = this.#key(this.#items[next]);
    this.#reveal(next);
    this.#render();
    this.#shown.get(this.#active)?.target.focus({ preventScroll: true });
  }

  // Scrolls as far as is needed to see a row below the fixed head.
  #reveal(index) {
    const top = this.#body.getBoundingClientRect().top + index * this.#height;
    const head = this.#headers.values().next().value.node.getBoundingClientRect().bottom;
    if (top < head) scrollBy({ top: top - head, behavior: "instant" });
    else if (top + this.#height > innerHeight) scrollBy({ top: top + this.#height - innerHeight, behavior: "instant" });
  }

  // A click anywhere on a row is a click on its link, unless it marks text or means something else.
  #click(event) {
    const link = this.#rowOf(event)?.node.querySelector("a");
    const isPlain = !event.ctrlKey && !event.metaKey && !event.shiftKey && getSelection().isCollapsed;
    if (link && isPlain && !event.target.closest("a")) link.click();
  }
}
