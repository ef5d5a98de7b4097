// Where things are drawn. Floating-point prices are precise enough for pixels.

import { DAY, ahead, clock, date, grouped, milliseconds } from "./text.js";

const { ceil, floor, max, min } = Math;

/** The API's page limit. */
export const MAX_TICKS = 10_000;
const CANDLES = ["1m", "5m", "15m", "1h", "4h", "1d"];
const TIME_STEPS = "1s 2s 5s 10s 15s 30s 1m 2m 5m 10m 15m 30m 1h 2h 3h 6h 12h 1d 2d 7d 14d".split(" ").map(milliseconds);

/** The data of a view: ticks if they fit and `room` is 0, else the finest candles that fit. */
export function resolution(length, interval, room, lead) {
	if (!room && (length + lead) / interval < MAX_TICKS) return { step: interval };
	const fits = (name) => milliseconds(name) >= interval && length / milliseconds(name) <= (room || MAX_TICKS / 4);
	const candles = CANDLES.find(fits) ?? "1d";
	return { candles, step: milliseconds(candles) };
}

/** About `count` round prices in a range. */
export function priceMarks(low, high, count) {
	const rough = (high - low) / max(1, count);
	const power = 10 ** floor(Math.log10(rough));
	const step = power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
	const digits = max(0, -floor(Math.log10(step) + 1e-9));
	const marks = [];
	for (let index = max(0, ceil(low / step)); index * step <= high; index++) {
		marks.push({ price: index * step, label: grouped((index * step).toFixed(digits)) });
	}
	return marks;
}

/** About `count` round times in a range. Midnight shows the date. */
export function timeMarks(from, to, count) {
	const rough = (to - from) / max(1, count);
	const step = TIME_STEPS.find((step) => step >= rough) ?? ceil(rough / DAY) * DAY;
	const marks = [];
	const shift = ahead(from);
	for (let time = ceil((from + shift) / step) * step - shift; time <= to; time += step) {
		marks.push({ time, label: (time + ahead(time)) % DAY ? clock(time, step < 60_000 ? 19 : 16) : date(time) });
	}
	return marks;
}

/** The first index at or after `time`. */
export function search(points, time) {
	let [low, high] = [0, points.length];
	while (low < high) {
		const middle = (low + high) >> 1;
		if (points[middle].time < time) low = middle + 1;
		else high = middle;
	}
	return low;
}

export function nearest(points, time) {
	const index = search(points, time);
	const [before, behind] = [points[index - 1], points[index]];
	return !before || behind?.time - time < time - before.time ? behind : before;
}

/** The points in a view, plus `beyond` more on each side. */
export const within = (points, { from, to }, beyond = 0) =>
	points.slice(max(0, search(points, from) - beyond), search(points, to + 1) + beyond);

/** The price range to show. It stays while it fits, so that the chart does not jump. */
export function priceRange(before, low, high) {
	const margin = max(high - low, high * 1e-5) / 20;
	const isFit = before && before.low <= low - margin && before.high >= high + margin;
	if (isFit && before.high - before.low < margin * 38) return before;
	return { low: low - margin * 3, high: high + margin * 3 };
}

/** A view moved in time, but not into the future. */
export function moved({ from, to }, by, newest) {
	const bounded = min(by, newest - to);
	return { from: from + bounded, to: to + bounded };
}

/** A view of another length that keeps `time` in place. */
export function zoomed({ from, to }, factor, time, shortest, newest) {
	const length = min(max((to - from) * factor, shortest), 366 * DAY);
	const before = ((time - from) / (to - from)) * length;
	return moved({ from: time - before, to: time - before + length }, 0, newest);
}
