// Numbers and times for people. Prices keep the digits of the log; only ratios are floating-point.

const UNITS = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5 };
export const DAY = UNITS.d;

/** "97012.30" → "97,012.30" */
export const grouped = (decimal) => decimal.replace(/^\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));

export const places = (decimal) => decimal.split(".")[1]?.length ?? 0;

const signed = (sign, text) => (sign > 0 ? "+" : sign < 0 ? "−" : "") + text;

/** -0.00031245 → "−0.03 %" */
export function percent(ratio, digits = 2) {
	const text = Math.abs(ratio * 100).toFixed(digits);
	return `${signed(Number(text) && Math.sign(ratio), text)} %`;
}

/** How a price changed: "down", "−1,204.10", "−1.26 %" */
export function change(earlier, later, digits) {
	const scale = Math.max(places(earlier), places(later));
	const units = (decimal) => BigInt(decimal.replace(".", "") + "0".repeat(scale - places(decimal)));
	const difference = units(later) - units(earlier);
	const text = `${difference}`.replace("-", "").padStart(scale + 1, "0");
	const point = text.length - scale;
	return {
		direction: difference > 0 ? "up" : difference < 0 ? "down" : "same",
		amount: signed(difference, grouped(text.slice(0, point) + (scale ? `.${text.slice(point)}` : ""))),
		percent: percent(later / earlier - 1, digits),
	};
}

export function milliseconds(duration) {
	const [, count, unit] = /^([1-9]\d*)(ms|s|m|h|d)$/.exec(duration) ?? [];
	return count * UNITS[unit];
}

/** A duration in its two largest units: "2 h 5 min" */
export function span(length) {
	const { s, m, h, d } = UNITS;
	const parts = [[length / d, "d"], [(length % d) / h, "h"], [(length % h) / m, "min"], [(length % m) / s, "s"]];
	const first = parts.findIndex(([count]) => count >= 1);
	const shown = parts.slice(first, first + 2).filter(([count]) => count >= 1);
	return shown.map(([count, unit]) => `${Math.floor(count)} ${unit}`).join(" ") || "0 s";
}

let isLocal = false;
/** Shows times in the browser's zone instead of UTC, which the log has. */
export const showLocal = (value) => (isLocal = value);
export const zone = () => (isLocal ? "local" : "UTC");
/** How far the clock that is shown is ahead of UTC, in milliseconds. */
export const ahead = (time) => (isLocal ? -UNITS.m * new Date(time).getTimezoneOffset() : 0);

const shifted = (time) => new Date(+new Date(time) + ahead(time));

/** "2026-11-21 14:05:09" */
export const moment = (time) => shifted(time).toISOString().slice(0, 19).replace("T", " ");

/** "14:05:09" or "14:05" */
export const clock = (time, end = 19) => moment(time).slice(11, end);

const days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
export const date = (time) => days.format(shifted(time));

/** "too_few_sources" → "too few sources" */
export const words = (code) => code.replaceAll("_", " ");
