// Small helpers around the DOM. Text goes in as text: nothing on this page parses HTML, because names and reasons hold
// whatever somebody wrote into ZooKeeper. What has not changed is not written, so that an update costs what it changes.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (null: left out) and children (nodes or text). */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function drawing(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(node, name, value);
  node.append(...children);
  return node;
}

/** Writes the text of a node. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Writes an attribute; null removes it. */
export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Makes the children of a node one for each item, keeping those that are there: `make()` gives `{node, update(item)}`. */
export class Children {
  #parent;
  #make;
  #kept = new Map();

  constructor(parent, make) {
    this.#parent = parent;
    this.#make = make;
  }

  show(items, key) {
    const kept = new Map();
    let place = this.#parent.firstElementChild;
    for (const item of items) {
      const name = key(item);
      const child = this.#kept.get(name) ?? this.#make(item);
      this.#kept.delete(name);
      kept.set(name, child);
      child.update(item);
      if (child.node === place) place = place.nextElementSibling;
      else this.#parent.insertBefore(child.node, place);
    }
    for (const gone of this.#kept.values()) gone.node.remove();
    this.#kept = kept;
  }
}
