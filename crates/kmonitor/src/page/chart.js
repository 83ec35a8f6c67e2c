// The history of a module in large: a line with its scale, its times, and the value under the pointer.

import { drawing, element, setAttribute, setText } from "./dom.js";
import { UNKNOWN, clock } from "./format.js";
import { highest, paths } from "./spark.js";

const WIDTH = 600;
const HEIGHT = 120;

/** Draws into a figure; `write` is how a value is written. */
export class Chart {
  #write;
  #points = [];
  #times = [];
  #line = drawing("path", { class: "line" });
  #area = drawing("path", { class: "area" });
  #plot;
  #mark = element("span", { class: "mark", hidden: "" });
  #most = element("span", { class: "most" });
  #from = element("span", { class: "from" });
  #to = element("span", { class: "to" });
  #value = element("span", { class: "value" });

  constructor(figure, title, write) {
    this.#write = write;
    const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" };
    this.#plot = element("div", { class: "plot" }, drawing("svg", box, this.#area, this.#line), this.#mark, this.#most);
    const caption = element("figcaption", {}, element("span", {}, title), this.#value);
    figure.append(caption, this.#plot, element("div", { class: "times" }, this.#from, this.#to));
    this.#plot.addEventListener("pointermove", (event) => this.#point(event));
    this.#plot.addEventListener("pointerleave", () => this.#rest());
  }

  /** Shows points whose last belongs to the last of the times. */
  show(points, times) {
    this.#points = points;
    this.#times = times.slice(Math.max(0, times.length - points.length));
    const drawn = paths(points, points.length, WIDTH, HEIGHT);
    setAttribute(this.#line, "d", drawn.line);
    setAttribute(this.#area, "d", drawn.area);
    setText(this.#most, this.#write(highest(points)));
    setText(this.#from, this.#times.length === 0 ? "" : clock(this.#times[0]));
    setText(this.#to, this.#times.length === 0 ? "" : clock(this.#times.at(-1)));
    if (this.#mark.hidden) this.#rest();
  }

  #rest() {
    this.#mark.hidden = true;
    const last = this.#points.at(-1) ?? null;
    setText(this.#value, `now ${last === null ? UNKNOWN : this.#write(last)}`);
  }

  #point(event) {
    if (this.#points.length < 2) return;
    const box = this.#plot.getBoundingClientRect();
    const part = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const index = Math.round(part * (this.#points.length - 1));
    const value = this.#points[index];
    this.#mark.hidden = false;
    this.#mark.style.left = `${(100 * index) / (this.#points.length - 1)}%`;
    setText(this.#value, `${value === null ? UNKNOWN : this.#write(value)} at ${clock(this.#times[index])}`);
  }
}
