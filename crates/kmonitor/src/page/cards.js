// The clusters, one card for each: how it is, where its numbers come from. A card shows only its cluster's modules.

import { link } from "./address.js";
import { badge, sinceTitle } from "./columns.js";
import { element, setAttribute, setText } from "./dom.js";
import { clock, count, counted, since, timeLag } from "./format.js";
import { spark } from "./spark.js";

const SOURCES = { zookeeper: "ZooKeeper", kafka: "Kafka" };

/** Makes a card: gives its node, and what updates it. */
export function card(context) {
  const mark = badge();
  const name = element("a", { class: "name" });
  const age = element("small");
  const lag = element("b");
  const time = element("b");
  const line = spark("lag");
  const size = element("p", { class: "size" });
  const sources = element("p", { class: "sources" });
  const node = element(
    "article",
    { class: "card" },
    element("div", {}, element("h2", {}, name), element("p", { class: "state" }, mark.node, age)),
    element("div", { class: "figures" }, figure(lag, " records"), figure(time, " behind"), line.node),
    size,
    sources,
  );
  return {
    node,
    update(item) {
      const { nowMs, chosen } = context();
      const isChosen = chosen === item.cluster;
      setText(name, item.cluster);
      setAttribute(name, "href", link({ cluster: isChosen ? "" : item.cluster }));
      setAttribute(name, "aria-current", isChosen ? "true" : null);
      setAttribute(name, "title", isChosen ? "Show all clusters" : "Show only this cluster");
      mark.update(item.state);
      setAttribute(node, "data-state", item.state);
      setText(age, `for ${since(item.since_ms, nowMs)}`);
      setAttribute(age, "title", sinceTitle(item));
      setText(lag, count(item.lag));
      setText(time, timeLag(item.lag_seconds, item.lag_seconds_certainty));
      line.update(item.history.lag, item.history_at_ms.length);
      const unknown = item.unknown > 0 ? `, ${count(item.unknown)} unknown` : "";
      setText(size, `${counted(item.modules, "module")}, ${counted(item.partition_count, "partition")}${unknown}`);
      const wrong = trouble(item, nowMs);
      setText(sources, wrong ?? `read ${clock(item.at_ms)} in ${item.round_seconds.toFixed(2)} s`);
      setAttribute(sources, "data-down", wrong === null ? null : "");
    },
  };
}

const figure = (...parts) => element("p", { class: "figure" }, ...parts);

/** What is wrong with where the numbers come from; null when nothing is. */
function trouble(item, nowMs) {
  const down = Object.entries(item.sources).filter(([, source]) => source !== null && !source.up);
  const one = ([name, source]) => `${SOURCES[name] ?? name} since ${clock(source.since_ms)}: ${source.error ?? "away"}`;
  const told = down.map(one);
  const lateMs = 5000 + 3000 * (item.interval_seconds + item.round_seconds);
  if (item.round > 0 && nowMs - item.at_ms > lateMs) told.push(`no round has ended since ${clock(item.at_ms)}`);
  return told.length === 0 ? null : told.join("; ");
}
