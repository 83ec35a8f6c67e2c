// How numbers, times and states are written. Pure. What is not known is a dash and never 0.

/** What stands for a number that is not known. */
export const UNKNOWN = "–";

/** The states, worst last, with their words. */
export const STATES = new Map([
  ["ok", "OK"],
  ["lagging", "lagging"],
  ["no_offset", "no offset"],
  ["stalled", "stalled"],
  ["stopped", "stopped"],
  ["rewound", "rewound"],
  ["ahead", "ahead"],
  ["lost", "lost"],
  ["unknown", "unknown"],
]);

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });

/** A state's word; a state of a newer kmonitor is its own word. */
export const word = (state) => STATES.get(state) ?? state;

const isKnown = (value) => value !== null && value !== undefined;

/** A number of records. */
export const count = (value) => (isKnown(value) ? whole.format(value) : UNKNOWN);

/** Records a second. */
export function rate(value) {
  if (!isKnown(value)) return UNKNOWN;
  return value < 99.95 ? tenths.format(value) : whole.format(value);
}

/** "1 module", "3 modules". */
export const counted = (value, noun) => `${whole.format(value)} ${noun}${value === 1 ? "" : "s"}`;

/** A number of seconds in the two largest units that matter. */
export function duration(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  if (seconds < 9.95) return `${tenths.format(seconds)} s`;
  if (seconds < 119.5) return `${whole.format(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return pair(hours, "h", minutes % 60, "min");
  return pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

const pair = (large, largeUnit, small, smallUnit) =>
  small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;

/** A time lag with how sure it is. */
export function timeLag(seconds, certainty) {
  if (!isKnown(seconds)) return UNKNOWN;
  const sure = { at_least: "≥ ", estimated: "≈ " }[certainty] ?? "";
  return sure + duration(seconds);
}

/** A time of day, with the day when it is not today's. */
export function clock(ms, nowMs = Date.now()) {
  if (!isKnown(ms)) return UNKNOWN;
  const time = new Date(ms);
  const two = (value) => String(value).padStart(2, "0");
  const text = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  if (time.toDateString() === new Date(nowMs).toDateString()) return text;
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${text}`;
}

/** How long something has been so, in its largest unit. */
export function since(ms, nowMs) {
  const seconds = Math.max(0, Math.round((nowMs - ms) / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 120 * 60) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${whole.format(Math.floor(seconds / 86_400))} d`;
}
