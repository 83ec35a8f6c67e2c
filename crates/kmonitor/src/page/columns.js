// The columns of the two tables: what is in a cell, and what it is sorted by.

import { link } from "./address.js";
import { drawing, element, setAttribute, setText } from "./dom.js";
import { STATES, UNKNOWN, clock, count, counted, duration, rate, since, timeLag, word } from "./format.js";
import { spark } from "./spark.js";

/** A state as shape and word: gives its node, and what updates it. */
export function badge() {
  const use = drawing("use");
  const text = element("span");
  const shape = drawing("svg", { class: "shape", "aria-hidden": "true" }, use);
  const node = element("span", { class: "badge" }, shape, text);
  return {
    node,
    update(state) {
      setAttribute(node, "data-state", state);
      setAttribute(use, "href", `#state-${STATES.has(state) ? state : "unknown"}`);
      setText(text, word(state));
    },
  };
}

/** The time of a state in full, for who rests the pointer on it. */
export const sinceTitle = (item) => `since ${clock(item.since_ms)}`;

const state = {
  id: "state",
  title: "State",
  isNumber: true,
  value: (item) => item.code,
  cell(cell) {
    const mark = badge();
    const time = element("small");
    cell.append(mark.node, time);
    return (item, context) => {
      mark.update(item.state);
      setText(time, `for ${since(item.since_ms, context.nowMs)}`);
      setAttribute(time, "title", sinceTitle(item));
    };
  },
};

/** A column of one text in each cell. */
function plain(id, title, value, text, more = {}) {
  const cell = (node) => (item) => setText(node, text(item));
  return { id, title, value, cell, isNumber: true, ...more };
}

const lag = {
  id: "lag",
  title: "Lag",
  hint: "Records that are not yet delivered",
  isNumber: true,
  value: (item) => item.lag,
  cell(cell) {
    const number = element("span", { class: "number" });
    const more = element("small");
    cell.append(number, more);
    return (item) => {
      setText(number, count(item.lag));
      const lost = item.lost > 0 ? `${count(item.lost)} lost` : "";
      setText(more, item.unknown > 0 ? `${count(item.unknown)} unknown` : lost);
    };
  },
};

const CERTAINTY = {
  measured: "",
  estimated: "interpolated over a long time",
  at_least: "older than the watch: this old at least",
};

const time = {
  id: "time",
  title: "Time lag",
  hint: "Age of the oldest record that is not yet delivered",
  isNumber: true,
  value: (item) => item.lag_seconds,
  cell: (cell) => (item) => {
    setText(cell, timeLag(item.lag_seconds, item.lag_seconds_certainty));
    setAttribute(cell, "title", CERTAINTY[item.lag_seconds_certainty] || null);
  },
};

function history(points) {
  return {
    id: "history",
    title: "History",
    hint: "Lag over the last hour; sorted by its change",
    isNumber: true,
    value: (item) => change(points(item)),
    cell(cell) {
      const line = spark("lag");
      cell.append(line.node);
      return (item, context) => line.update(points(item), context.slots(item));
    },
  };
}

/** How much the lag has grown over its history. */
function change(points) {
  const known = points.filter((point) => point !== null);
  return known.length === 0 ? null : known[known.length - 1] - known[0];
}

const rateIn = plain("in", "In /s", (item) => item.rate_in, (item) => rate(item.rate_in), {
  hint: "Records a second that are written",
});
const rateOut = plain("out", "Out /s", (item) => item.rate_out, (item) => rate(item.rate_out), {
  hint: "Records a second that commits move by",
});
const eta = plain("eta", "Done in", (item) => item.eta_seconds, (item) => duration(item.eta_seconds), {
  hint: "When nothing waits any more at these rates",
});

/** The columns of the table of modules. */
export const MODULES = [
  state,
  {
    id: "module",
    title: "Module",
    isHead: true,
    value: (item) => item.module,
    cell(cell) {
      const name = element("a");
      const more = element("small");
      cell.append(name, more);
      return (item) => {
        setText(name, item.module);
        setAttribute(name, "href", link({ cluster: item.cluster, module: item.module }));
        setText(more, [item.cluster, item.topics.join(", ")].filter(Boolean).join(" · "));
        setAttribute(cell, "title", `${item.module}\n${more.textContent}`);
      };
    },
  },
  {
    id: "reason",
    title: "Reason",
    value: (item) => item.reason || null,
    cell(cell) {
      const text = element("span", { class: "two-lines" });
      cell.append(text);
      return (item) => {
        setText(text, item.reason);
        setAttribute(text, "title", item.reason || null);
      };
    },
  },
  lag,
  time,
  history((item) => item.history.lag),
  rateIn,
  rateOut,
  eta,
  plain("owned", "Owned", (item) => item.owned, (item) => `${count(item.owned)} / ${count(item.partition_count)}`, {
    hint: "Partitions that have an owner, of all",
  }),
];

/** The columns of the table of a module's partitions. */
export const PARTITIONS = [
  state,
  {
    id: "partition",
    title: "Partition",
    isHead: true,
    value: (item) => item.partition,
    cell(cell) {
      const number = element("span", { class: "number" });
      const topic = element("span", { class: "topic" });
      const reason = element("small");
      cell.append(number, " ", topic, reason);
      return (item) => {
        setText(number, String(item.partition));
        setText(topic, item.topic);
        setText(reason, item.reason);
        setAttribute(cell, "title", `${item.topic}/${item.partition}\n${item.reason}`);
      };
    },
  },
  plain("owner", "Owner", (item) => item.owner, (item) => item.owner ?? "nobody", { isNumber: false }),
  {
    id: "committed",
    title: "Committed",
    hint: "The next offset to deliver",
    isNumber: true,
    value: (item) => item.committed,
    cell: (cell) => (item) => {
      setText(cell, count(item.committed));
      setAttribute(cell, "title", item.last_commit_ms === null ? null : `last commit ${clock(item.last_commit_ms)}`);
    },
  },
  {
    id: "end",
    title: "Log end",
    hint: "The offset that the next record gets",
    isNumber: true,
    value: (item) => item.log_end,
    cell: (cell) => (item) => {
      setText(cell, count(item.log_end));
      setAttribute(cell, "title", `log start ${count(item.log_start)}`);
    },
  },
  lag,
  time,
  history((item) => item.history),
  rateIn,
  rateOut,
  eta,
];

/** All that is searched of a module. */
export const moduleText = (item) =>
  [item.cluster, item.module, word(item.state), item.reason, ...item.topics, ...item.instances.map((one) => one.id)].join("\n");

/** All that is searched of a partition. */
export const partitionText = (item) =>
  `${item.topic}/${item.partition}\n${word(item.state)}\n${item.reason}\n${item.owner ?? "nobody"}`;

/** What is told of a module above its partitions, as name and text. */
export function facts(item) {
  return [
    ["Lag", count(item.lag), item.unknown > 0 ? `${counted(item.unknown, "partition")} unknown` : ""],
    ["Time lag", timeLag(item.lag_seconds, item.lag_seconds_certainty), ""],
    ["In", `${rate(item.rate_in)} /s`, ""],
    ["Out", `${rate(item.rate_out)} /s`, ""],
    ["Done in", duration(item.eta_seconds), item.eta_seconds === null && item.lag > 0 ? "not in sight" : ""],
    ["Last commit", item.last_commit_ms === null ? UNKNOWN : clock(item.last_commit_ms), ""],
    ["Owned", `${count(item.owned)} / ${count(item.partition_count)}`, ""],
    ["Lost", count(item.lost), ""],
  ];
}
