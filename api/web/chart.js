import { nearest, priceMarks, priceRange, timeMarks, within } from "./scale.js";
import { extendLine, extendMean, lineOf, meanOf } from "./series.js";
import { DAY, clock, grouped, moment, places, span, zone } from "./text.js";

const { abs, ceil, max, min, round } = Math;

const HEAD = 34;
const FOOT = 24;

/** The points with the lowest and the highest price. */
function extremesOf(points) {
	let [low, high] = [points[0], points[0]];
	for (const point of points) {
		if (point.low < low.low) low = point;
		if (point.high > high.high) high = point;
	}
	return { low, high };
}

/** Draws panels over one time axis. Returns a function from x to time. */
export function draw(canvas, { panels, view, cursor, candles, average }) {
	const { clientWidth: width, clientHeight: height } = canvas;
	const pen = canvas.getContext("2d");
	const size = [width, height].map((length) => round(length * devicePixelRatio));
	if (`${size}` === `${[canvas.width, canvas.height]}`) pen.reset();
	else [canvas.width, canvas.height] = size;
	pen.scale(devicePixelRatio, devicePixelRatio);
	pen.textBaseline = "middle";
	pen.lineJoin = "bevel";
	const style = getComputedStyle(canvas);
	const ink = (name, lineWidth = 1, globalAlpha = 1) => {
		const colour = style.getPropertyValue(`--${name}`);
		Object.assign(pen, { fillStyle: colour, strokeStyle: colour, lineWidth, globalAlpha });
	};
	const text = (words, atX, atY, { colour = "muted", align = "left", weight = 400, margin } = {}) => {
		pen.font = `${weight} 12px system-ui, sans-serif`;
		pen.textAlign = align;
		const length = pen.measureText(words).width;
		const x = align === "left" ? atX : min(max(atX, length / 2 + 4), right - length / 2 - 4);
		if (margin) pen.fillRect(x - (align === "left" ? 4 : length / 2 + 4), atY - 9, length + 8, 18);
		ink(colour);
		pen.fillText(words, x, atY, width - x);
		return atX + length + 12;
	};
	const straight = (fromX, fromY, toX, toY) => {
		pen.beginPath();
		pen.moveTo(fromX, fromY);
		pen.lineTo(toX, toY);
		pen.stroke();
	};
	const dot = (atX, atY, radius) => {
		pen.beginPath();
		pen.arc(atX, atY, radius, 0, 7);
		pen.fill();
	};
	const sharp = (place) => round(place) + 0.5;
	const upright = (time, top) => straight(sharp(x(time)), top, sharp(x(time)), height - FOOT);
	const level = (place, length) => straight(0, sharp(place), length, sharp(place));

	const tall = (height - FOOT) / panels.length;
	for (const panel of panels) {
		const { low, high } = (panel.extremes = extremesOf(panel.seen));
		panel.range = low && priceRange(panel.range, low.low, high.high);
		panel.marks = panel.range ? priceMarks(panel.range.low, panel.range.high, tall / 45) : [];
	}
	pen.font = "12px system-ui, sans-serif";
	const labels = panels.flatMap(({ marks, label = "" }) => [{ label }, ...marks]);
	const right = width - (panels[0].room = max(panels[0].room ?? 44, ...labels.map(({ label }) => pen.measureText(label).width + 12)));
	const x = (time) => ((time - view.from) / (view.to - view.from)) * right;
	/** The milliseconds of a pixel. */
	const column = ceil((view.to - view.from) / right);

	for (const { time, label } of timeMarks(view.from, view.to, right / 90)) {
		ink("grid");
		upright(time, 0);
		if (x(time) > 20 && x(time) < right - 20) text(label, x(time), height - 12, { align: "center" });
	}
	text(zone(), right + 8, height - 12);

	panels.forEach((panel, index) => {
		const { name, points, seen, candles: isCandles, step, gaps, empty, range, extremes, marks, label, note, hue } = panel;
		/** What is kept of a panel. It is computed again for other points or another size. */
		const kept = (name, make, size, key) => {
			const old = panel[name];
			return old?.points === points && old.size === size ? old : (panel[name] = make(points, step, size, key));
		};
		const { mean } = panel;
		if (kept("mean", meanOf, average) !== mean) panel.meanLine = undefined;
		extendMean(panel.mean);
		const top = index * tall;
		const bottom = top + tall - 10;
		const y = (price) => bottom - ((price - range.low) / (range.high - range.low)) * (bottom - top - HEAD);
		ink("edge");
		if (index) level(top, width);

		const near = cursor && nearest(seen, cursor);
		const pointed = abs(near?.time - cursor) <= step ? near : undefined;
		const gap = gaps.find(({ from, to }) => cursor > from && cursor < to);
		const last = pointed ?? seen.at(-1);
		let story = last ? grouped(last.text.close) : note;
		if (last && isCandles) story = Object.entries(last.text).map(([name, price]) => `${name} ${grouped(price)}`).join("  ");
		if (gap) story = `no price for ${span(gap.length)}: ${gap.cause}`;
		const behind = text(story, text(name, 0, top + 16, { colour: hue, weight: 600 }), top + 16, { colour: gap ? "bad" : "ink" });
		if (last?.mean && !gap && behind < right - 150) {
			text(`average ${span(average)} ≈ ${grouped(last.mean.toFixed(places(last.text.close)))}`, behind, top + 16);
		}
		pen.save();
		pen.beginPath();
		pen.rect(0, top, right, tall);
		pen.clip();
		ink("gap");
		let end = 0;
		for (const { from, to } of gaps) {
			// Adjacent gaps of different causes overlap.
			const left = x(max(from, end));
			pen.fillRect(left, top + HEAD - 6, max(1, x(to) - left), bottom - top - HEAD + 12);
			end = to;
		}
		for (const { from, to, cause } of [...gaps, ...empty]) {
			const [left, end] = [max(x(from), 0), min(x(to), right)];
			if (pen.measureText(cause).width + 16 < end - left) text(cause, (left + end) / 2, bottom - 16, { align: "center" });
		}
		if (!range) return pen.restore();
		ink("grid");
		for (const { price } of marks) level(y(price), right);
		const body = candles ? min(14, x(view.from + step) * 0.7) : 0;
		for (const { time, open, high, low, close, past } of within(points, view, 1)) {
			if (high === low && !body) continue;
			// A line chart shows each candle's range as a wick.
			ink(body ? (close < open ? "down" : "up") : hue, 1, body && !past ? 1 : 0.4);
			straight(x(time), y(high), x(time), y(low));
			const [upper, lower] = [y(max(open, close)), y(min(open, close))];
			pen.fillRect(x(time) - body / 2, upper, body, max(1, lower - upper));
		}
		const stroke = (points, key, dash = []) => {
			pen.setLineDash(dash);
			pen.beginPath();
			let isBroken = true;
			for (const point of points) {
				const [atX, atY] = [x(point.time), y(point[key])];
				if (isBroken) pen.moveTo(atX - 0.5, atY);
				// Does nothing at a gap.
				pen.lineTo(atX, atY);
				isBroken = isNaN(atY);
			}
			pen.stroke();
		};
		const curve = (name, key, width) => {
			const line = kept(name, lineOf, width, key);
			const last = extendLine(line);
			return [...within(line.drawn, view, 1), ...last];
		};
		ink(hue, 2.5, 0.5);
		stroke(curve("meanLine", "mean", 2 * column), "mean");
		if (!body) {
			const line = curve("line", "close", column);
			// What was backfilled comes first.
			const live = line.findIndex(({ past }) => !past);
			ink(hue, 1.5, 0.7);
			stroke(line.slice(0, live < 0 ? undefined : live + 1), "close", [4, 3]);
			ink(hue, 1.5);
			if (live >= 0) stroke(line.slice(live), "close");
		}
		pen.setLineDash([]);
		ink("muted");
		for (const [key, word, shift] of [["low", "min", 11], ["high", "max", -11]]) {
			const { [key]: point } = extremes;
			dot(x(point.time), y(point[key]), 2.5);
			text(`${word} ${grouped(point.text[key])}`, x(point.time), y(point[key]) + shift, { align: "center" });
		}
		pen.restore();

		const { close } = points.at(-1);
		const tag = label && close > range.low && close < range.high && y(close);
		// The tag covers labels near it.
		for (const { price, label } of marks) if (!(abs(y(price) - tag) < 17)) text(label, right + 8, y(price));
		ink(hue);
		if (pointed) dot(x(pointed.time), y(pointed.close), 4);
		if (tag) text(label, right + 8, tag, { colour: "ground", margin: true });
	});
	if (cursor) {
		ink("muted");
		upright(cursor, HEAD - 8);
		text((view.to - view.from > DAY ? moment : clock)(cursor), x(cursor), height - 12, { colour: "ground", align: "center", margin: true });
	}
	return (place) => view.from + (place / right) * (view.to - view.from);
}
