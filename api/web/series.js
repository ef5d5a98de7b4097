// Points, and the lines and averages through them, which are kept between redraws and extended when points are appended.

import { MAX_TICKS } from "./scale.js";

const { floor, max } = Math;

/** The distance between points. Backfilled ticks are a minute apart, or one per slot if the interval is longer. */
const stride = (past, step) => (past ? max(step, 60_000) : step);

/** A point with one price. `text` keeps the digits of the log. */
class Tick {
	mean = NaN;
	constructor({ slot, price, backfilled }) {
		this.time = Date.parse(slot);
		this.close = +price;
		this.price = price;
		this.past = backfilled;
	}
	get open() {
		return this.close;
	}
	get high() {
		return this.close;
	}
	get low() {
		return this.close;
	}
	get text() {
		const { price } = this;
		return { open: price, high: price, low: price, close: price };
	}
}

export function pointOf(item) {
	if (item.price) return new Tick(item);
	const { start, open, high, low, close, backfilled } = item;
	return { time: +new Date(start), open: +open, high: +high, low: +low, close: +close, past: backfilled, mean: NaN, text: { open, high, low, close } };
}

/**
 * A line through `points`, thinned to the first, lowest, highest and last point of each column. Columns are `size`
 * milliseconds wide and begin at multiples of it. `drawn` has the points of all columns but the last, which is not
 * complete yet. An object without a price marks a gap.
 */
export const lineOf = (points, step, size, key = "close") => ({ points, step, size, key, count: 0, drawn: [] });

function addColumn({ first, low, high, last }, drawn) {
	for (const point of low.time < high.time ? [first, low, high, last] : [first, high, low, last]) {
		if (point !== drawn.at(-1)) drawn.push(point);
	}
	return drawn;
}

/** Extends a line to all points. Returns the points of the last column. */
export function extendLine(line) {
	const { points, step, size, key, drawn } = line;
	for (; line.count < points.length; line.count++) {
		const point = points[line.count];
		if (isNaN(point[key])) continue;
		const { last } = line;
		const place = floor(point.time / size);
		const breaks = last && point.time - last.time > stride(last.past, step) * 1.5;
		if (breaks || place !== line.place) {
			if (last) addColumn(line, drawn);
			if (breaks) drawn.push({ time: last.time, past: last.past });
			line.first = line.low = line.high = point;
			line.place = place;
		}
		if (point[key] < line.low[key]) line.low = point;
		if (point[key] > line.high[key]) line.high = point;
		line.last = point;
	}
	return line.last ? addColumn(line, []) : [];
}

/** The moving mean of the closes of `points` over `size` milliseconds. */
export const meanOf = (points, step, size) => ({ points, step, size, count: 0, first: 0, sum: 0, weight: 0 });

/** Writes the mean to all points where at least half of the points of its window exist, and NaN to the others. */
export function extendMean(mean) {
	const { points, step, size } = mean;
	const add = ({ close, past }, sign) => {
		// A backfilled tick stands for its whole minute.
		const weight = (sign * stride(past, step)) / step;
		mean.sum += close * weight;
		mean.weight += weight;
	};
	for (; mean.count < points.length; mean.count++) {
		const point = points[mean.count];
		add(point, 1);
		for (; points[mean.first].time < point.time && points[mean.first].time <= point.time - size; mean.first++) add(points[mean.first], -1);
		point.mean = size >= 2 * step && mean.weight >= size / step / 2 ? mean.sum / mean.weight : NaN;
	}
}

/** Appends a new event to the data, unless the data ends in the past. */
export function append(pair, { kind, price, slot, backfilled, ...gap }) {
	const { points, candles, step, to, gapItems } = pair;
	if (kind === "gap") {
		if (gapItems.at(-1)?.to >= slot) return;
		pair.gapItems = [...gapItems, { ...gap, to: slot }].slice(-MAX_TICKS);
		pair.gaps = undefined;
		return;
	}
	const [time, end] = [Date.parse(slot), points.at(-1)?.time ?? 0];
	if (to || time <= end) return;
	if (points.length > 4 * MAX_TICKS) Object.assign(pair, { points: points.slice(MAX_TICKS), start: points[MAX_TICKS].time });
	if (!candles) return pair.points.push(pointOf({ price, slot, backfilled }));
	const isSame = time < end + step;
	// A new array, because lines only grow.
	pair.points = points.slice(0, isSame ? -1 : undefined);
	const item = isSame ? points.at(-1).text : { open: price, high: price, low: price };
	item.close = price;
	if (price - item.high > 0) item.high = price;
	if (price - item.low < 0) item.low = price;
	pair.points.push(pointOf({ ...item, start: time - (time % step) }));
}
