// A line of numbers over time, in a cell: the shape of the last hour. Its scale begins at 0 and ends at the highest point.

import { drawing, setAttribute } from "./dom.js";
import { UNKNOWN, count } from "./format.js";

const WIDTH = 120;
const HEIGHT = 28;
const MARGIN = 2;

/** The paths of a line and of the area below it. `slots`: how many points the whole width has; the last point is at its end. */
export function paths(points, slots, width = WIDTH, height = HEIGHT) {
  const step = width / (Math.max(slots, points.length, 2) - 1);
  const most = highest(points) || 1;
  const x = (index) => width - (points.length - 1 - index) * step;
  const y = (value) => height - MARGIN - (value / most) * (height - 2 * MARGIN);
  let line = "";
  let area = "";
  let first = -1;
  for (let index = 0; index <= points.length; index += 1) {
    const value = points[index];
    if (value !== null && value !== undefined) {
      line += `${first < 0 ? "M" : "L"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
      if (first < 0) first = index;
      continue;
    }
    if (first >= 0) {
      const piece = line.slice(line.lastIndexOf("M") + 1);
      area += `M${x(first).toFixed(1)} ${height}L${piece}L${x(index - 1).toFixed(1)} ${height}Z`;
      // A point by itself is a dot.
      if (first === index - 1) line += "h.01";
    }
    first = -1;
  }
  return { line, area };
}

/** The highest known point; 0 of none. */
export const highest = (points) => points.reduce((most, value) => Math.max(most, value ?? 0), 0);

/** A sparkline: gives its node, and what updates it. */
export function spark(name) {
  const area = drawing("path", { class: "area" });
  const line = drawing("path", { class: "line" });
  const box = { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" };
  const node = drawing("svg", box, area, line);
  return {
    node,
    update(points, slots) {
      const drawn = paths(points, slots);
      setAttribute(line, "d", drawn.line);
      setAttribute(area, "d", drawn.area);
      const last = points.length === 0 ? UNKNOWN : count(points[points.length - 1]);
      setAttribute(node, "aria-label", `${name}: now ${last}, highest ${count(highest(points))}`);
    },
  };
}
