/** Numbers, times and days as people read them. */

const PERCENT = new Intl.NumberFormat("en-GB", { style: "percent", maximumFractionDigits: 0 });
const FINE_PERCENT = new Intl.NumberFormat("en-GB", { style: "percent", maximumSignificantDigits: 2 });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const MOMENT = new Intl.DateTimeFormat("en-GB", {
  weekday: "short",
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});
const AGO = new Intl.RelativeTimeFormat("en-GB", { numeric: "auto" });
const STEPS = [
  ["second", 60],
  ["minute", 60],
  ["hour", 24],
  ["day", 30],
  ["month", 12],
  ["year", Infinity],
];

/** A probability: never rounded up to certainty. */
export function probability(p) {
  if (p > 0.99 && p < 1) return ">99%";
  if (p > 0 && p < 0.01) return "<1%";
  return PERCENT.format(p);
}

/** A share, in whole percent. */
export function percent(share) {
  return PERCENT.format(share);
}

/** A rate that may be small, with two significant digits: 0.13%. */
export function rate(share) {
  return share === 0 ? "0%" : FINE_PERCENT.format(share);
}

/** Seconds with one decimal. */
export function seconds(value) {
  return `${value.toFixed(1)} s`;
}

/** Seconds as m:ss. */
export function clock(value) {
  const whole = Math.floor(value);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** A day, of an ISO date or moment. */
export function day(iso) {
  return DAY.format(new Date(iso));
}

/** A moment with its time of day. */
export function moment(iso) {
  return MOMENT.format(new Date(iso));
}

/** How long ago a moment is. */
export function ago(iso, now = Date.now()) {
  let amount = (new Date(iso).getTime() - now) / 1000;
  if (Math.abs(amount) < 45) return "just now";
  for (const [unit, size] of STEPS) {
    if (Math.abs(amount) < size) return AGO.format(Math.round(amount), unit);
    amount /= size;
  }
  return day(iso);
}

/** Today, in this place, as YYYY-MM-DD. */
export function today() {
  const now = new Date();
  return [
    now.getFullYear(),
    String(now.getMonth() + 1).padStart(2, "0"),
    String(now.getDate()).padStart(2, "0"),
  ].join("-");
}

/** "1 clip", "3 clips". */
export function count(n, noun, many = `${noun}s`) {
  return `${n} ${n === 1 ? noun : many}`;
}

/** "Ana, Ben and Cleo". */
export function listed(names) {
  return names.length < 2 ? (names[0] ?? "") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
