// The page: shows what the address says of what the feed brings.

import * as address from "./address.js";
import { card } from "./cards.js";
import { Chart } from "./chart.js";
import { MODULES, PARTITIONS, badge, facts, moduleText, partitionText, sinceTitle } from "./columns.js";
import { Children, element, setAttribute, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { STATES, clock, count, counted, duration, since, word } from "./format.js";
import { found } from "./order.js";
import { Table } from "./table.js";

const part = (id) => document.getElementById(id);

/** Before something is said to who cannot see the page: a search is not told letter by letter. */
const SAY_AFTER_MS = 900;

let place = address.read();
let overview = { search: "", state: "", sort: "", cluster: "" };
let data = null;
let isMissing = false;
let isSearching = false;
// Where to scroll and what to focus once the numbers of a new place are here.
let scrollTarget = null;
let focusTarget = null;

const modules = new Table(part("modules"), {
  columns: MODULES,
  key: (item) => `${item.cluster}\n${item.module}`,
  ties: ["-lag", "module"],
  sort: (sort) => visit({ ...place, sort }),
});
const partitions = new Table(part("partitions"), {
  columns: PARTITIONS,
  key: (item) => `${item.topic}\n${item.partition}`,
  ties: ["-lag", "partition"],
  sort: (sort) => visit({ ...place, sort }),
});
const lagChart = new Chart(part("chart-lag"), "Lag, records", count);
const timeChart = new Chart(part("chart-time"), "Time lag", duration);
const cards = new Children(part("clusters"), () => card(() => ({ nowMs: data.nowMs, chosen: place.cluster })));
const filters = new Children(part("filters"), filter);
const factList = new Children(part("facts"), fact);
const instances = new Children(part("instances"), instance);
const moduleBadge = badge();
part("module-state").append(moduleBadge.node);

const feed = new Feed({
  data(fresh) {
    data = fresh;
    isMissing = false;
    render();
  },
  missing() {
    isMissing = true;
    data = null;
    render();
  },
  health,
});

/** Goes to a place and makes it an entry of the history. */
function visit(next, isNew = true) {
  const isOther = next.cluster !== place.cluster || next.module !== place.module;
  const wasModule = address.isModule(place);
  if (!wasModule) overview = place;
  address.go(next, isNew);
  place = address.read();
  if (isOther && (wasModule || address.isModule(place))) {
    scrollTarget = 0;
    retarget();
  }
  render();
}

/** Asks for what the place shows. */
function retarget() {
  isMissing = false;
  feed.want(address.isModule(place) ? place : null);
}

/** What is here to show at the place; null while it is on its way. */
function present() {
  if (data === null) return null;
  if (!address.isModule(place)) return data.modules ? data : null;
  const { module } = data;
  return module && module.module === place.module && module.cluster === place.cluster ? data : null;
}

function render() {
  const isModule = address.isModule(place);
  const shown = present();
  // Numbers of another place are not left standing while those of this one are on their way.
  const isHidden = (isOfModule) => shown === null || isOfModule !== isModule;
  for (const id of ["title", "clusters", "modules"]) part(id).hidden = isHidden(false);
  for (const id of ["module", "partitions"]) part(id).hidden = isHidden(true);
  part("tools").hidden = shown === null;
  setText(part("listing"), isModule ? "Partitions" : "Modules");
  part("home").href = address.link({});
  part("up").href = address.link({ ...overview, module: "" });
  const search = part("search");
  if (search.value !== place.search && document.activeElement !== search) search.value = place.search;
  notice(shown);
  if (shown === null) return;
  summary(shown.clusters);
  if (isModule) renderModule(shown);
  else renderOverview(shown);
  if (scrollTarget !== null) {
    scrollTo({ top: scrollTarget, behavior: "instant" });
    scrollTarget = null;
  }
  focusTarget?.focus({ preventScroll: true });
  focusTarget = null;
}

function notice(shown) {
  const { cluster, module } = place;
  let text = shown === null ? "Loading…" : "";
  if (isMissing) text = `There is no module ${module} in ${cluster} any more. It is shown again when it comes back.`;
  setText(part("notice"), text);
  part("notice").hidden = text === "";
  if (text !== "") part("empty").hidden = true;
}

function renderOverview({ clusters, modules: all, nowMs }) {
  cards.show(clusters, (one) => one.cluster);
  const axis = new Map(clusters.map((one) => [one.cluster, one.history_at_ms.length]));
  const here = place.cluster === "" ? all : all.filter((one) => one.cluster === place.cluster);
  const slots = (item) => axis.get(item.cluster) ?? 0;
  list(modules, here, { text: moduleText, noun: "module", nowMs, slots });
}

function renderModule({ module, nowMs }) {
  setText(part("module-name"), module.module);
  moduleBadge.update(module.state);
  const topics = module.topics.length === 0 ? "" : ` · ${module.topics.join(", ")}`;
  const reason = module.reason === "" ? "" : ` · ${module.reason}`;
  setText(part("module-reason"), `${module.cluster}${topics} · for ${since(module.since_ms, nowMs)}${reason}`);
  setAttribute(part("module-reason"), "title", sinceTitle(module));
  factList.show(facts(module), ([name]) => name);
  lagChart.show(module.history.lag, module.history_at_ms);
  timeChart.show(module.history.lag_seconds, module.history_at_ms);
  instances.show(module.instances, (one) => one.id);
  setAttribute(part("instances"), "data-empty", module.instances.length === 0 ? "no live instance" : null);
  const slots = () => module.history_at_ms.length;
  list(partitions, module.partitions, { text: partitionText, noun: "partition", nowMs, slots });
}

/** Shows what the search and the filters leave of all rows. */
function list(table, all, { text, noun, nowMs, slots }) {
  const searched = found(all, place.search, text);
  const chosen = place.state.split(",").filter(Boolean);
  const counts = new Map();
  for (const item of searched) counts.set(item.state, (counts.get(item.state) ?? 0) + 1);
  const states = [...STATES.keys()].filter((state) => counts.has(state) || chosen.includes(state)).reverse();
  filters.show(states.map((state) => ({ state, count: counts.get(state) ?? 0 })), ({ state }) => state);
  const rows = chosen.length === 0 ? searched : searched.filter((item) => chosen.includes(item.state));
  table.show(rows, { sort: table.knows(place.sort) ? place.sort : "-state", nowMs, slots });
  const total = counted(all.length, noun);
  setText(part("found"), rows.length === all.length ? total : `${count(rows.length)} of ${total}`);
  setText(part("empty"), all.length === 0 ? `There is no ${noun}.` : `No ${noun} is like that.`);
  part("empty").hidden = rows.length > 0;
}

function summary(clusters) {
  const counts = new Map();
  for (const one of clusters) {
    for (const [state, number] of Object.entries(one.states)) counts.set(state, (counts.get(state) ?? 0) + number);
  }
  const all = clusters.reduce((sum, one) => sum + one.partition_count, 0);
  const away = clusters.filter((one) => Object.values(one.sources).some((source) => source !== null && !source.up));
  counts.delete("ok");
  const told = [...STATES.keys()].reverse().filter((state) => counts.has(state)).map((state) => `${count(counts.get(state))} ${word(state)}`);
  if (away.length > 0) told.push(`${counted(away.length, "cluster")} cannot be read in full`);
  const text = told.length === 0 ? `All ${counted(all, "partition")} are well` : `Of ${counted(all, "partition")}: ${told.join(", ")}`;
  setText(part("summary"), text);
  setAttribute(part("summary"), "title", text);
  document.documentElement.dataset.well = told.length === 0 ? "yes" : "no";
  const title = address.isModule(place) ? `${place.module} · kmonitor` : "kmonitor";
  document.title = told.length === 0 ? title : `(!) ${title}`;
}

function filter() {
  const mark = badge();
  const number = element("b");
  const node = element("button", { type: "button" }, mark.node, number);
  node.addEventListener("click", () => {
    const chosen = new Set(place.state.split(",").filter(Boolean));
    if (!chosen.delete(node.dataset.filter)) chosen.add(node.dataset.filter);
    visit({ ...place, state: [...chosen].join(",") });
    sayFound();
  });
  return {
    node,
    update(item) {
      mark.update(item.state);
      setText(number, count(item.count));
      setAttribute(node, "data-filter", item.state);
      setAttribute(node, "aria-pressed", String(place.state.split(",").includes(item.state)));
    },
  };
}

function fact() {
  const [name, value, more] = [element("dt"), element("dd"), element("small")];
  const text = element("span");
  value.append(text, more);
  const node = element("div", {}, name, value);
  return {
    node,
    update([title, told, rest]) {
      setText(name, title);
      setText(text, told);
      setText(more, rest);
    },
  };
}

function instance() {
  const [name, owned] = [element("span"), element("small")];
  const node = element("li", {}, name, owned);
  return {
    node,
    update(item) {
      setText(name, item.id);
      setText(owned, counted(item.partitions, "partition"));
    },
  };
}

let wasStale = null;

function health({ stale, sinceMs }) {
  if (sinceMs === null) return;
  const ago = since(sinceMs, Date.now());
  const text = stale ? `stale since ${clock(sinceMs)} (${ago}), reconnecting` : `live, ${clock(sinceMs)}`;
  setText(part("health-text"), text);
  setAttribute(document.documentElement, "data-stale", stale ? "" : null);
  if (wasStale !== null && wasStale !== stale) say(stale ? `Connection lost, numbers are stale since ${clock(sinceMs)}` : "Live again");
  wasStale = stale;
}

let saying = 0;

/** Tells who cannot see the page; the last of several counts. */
function say(text) {
  clearTimeout(saying);
  saying = setTimeout(() => setText(part("status"), text), SAY_AFTER_MS);
}

const sayFound = () => say(part("found").textContent);

part("search").addEventListener("input", () => {
  // One entry of the history for a search, not one for each letter.
  visit({ ...place, search: part("search").value }, !isSearching);
  isSearching = true;
  sayFound();
});
part("search").addEventListener("blur", () => {
  isSearching = false;
});

addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    part("search").focus();
    part("search").select();
  }
});

// Links to places of this page need no new page.
addEventListener("click", (event) => {
  const anchor = event.target.closest?.("a[href]");
  const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!anchor || !isPlain || event.defaultPrevented || anchor.hash !== "" || anchor.pathname !== location.pathname) return;
  event.preventDefault();
  const fresh = new URL(anchor.href).searchParams;
  const next = Object.fromEntries(Object.keys(place).map((name) => [name, fresh.get(name) ?? ""]));
  const isCard = !next.module && !address.isModule(place) && anchor.closest("#clusters") !== null;
  if (!isCard) focusTarget = address.isModule(next) ? part("up") : modules;
  visit(isCard ? { ...place, cluster: next.cluster } : next);
});

addEventListener("popstate", (event) => {
  const before = place;
  if (!address.isModule(before)) overview = before;
  place = address.read();
  scrollTarget = event.state?.scroll ?? 0;
  isSearching = false;
  part("search").value = place.search;
  const isOther = before.module !== place.module || (address.isModule(place) && before.cluster !== place.cluster);
  if (isOther) {
    focusTarget = address.isModule(place) ? part("up") : modules;
    retarget();
  }
  render();
});

history.scrollRestoration = "manual";
addEventListener("pagehide", address.remember);
addEventListener("scrollend", address.remember);
part("search").value = place.search;
feed.start();
retarget();
render();
