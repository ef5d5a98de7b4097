// The cards, and the tables that explain the prices.

import { ask, now } from "./feed.js";
import { findFailures } from "./status.js";
import { change, clock, grouped, milliseconds, moment, percent, places, span, words, zone } from "./text.js";

export const find = (id) => document.getElementById(id);

export function make(tag, content, properties) {
	const element = Object.assign(document.createElement(tag), properties);
	element.append(...[content].flat());
	return element;
}

/** Writes only changes, so that selected text stays selected. */
export function write(element, text, className = element.className) {
	if (element.textContent !== text) element.textContent = text;
	if (element.className !== className) element.className = className;
}

const row = (...cells) => make("tr", cells.map((cell) => (cell instanceof Node ? cell : make("td", cell ?? "–"))));
const share = (ratio) => percent(ratio, 1).replace("+", "");
const heading = (...parts) => make("tr", make("th", parts, { colSpan: 5, scope: "rowgroup" }));

const fill = (id, groups) => {
	const table = find(id);
	table.parentNode.tabIndex = 0;
	table.replaceChildren(table.tHead, ...groups.map((rows) => make("tbody", rows)));
};

export function makeCard(name, hue) {
	const parts = ["pair", "", "price", "", "", "bad"].map((className, index) => make("span", index ? "" : name, { className }));
	const card = make("button", parts, { className: "card" });
	const [spark, path] = ["svg", "polyline"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
	for (const [key, value] of Object.entries({ viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" })) spark.setAttribute(key, value);
	spark.append(path);
	card.append(spark);
	card.style.setProperty("--line", `var(--${hue})`);
	return card;
}

export function showCard(card, { tick, before, gap, stale, replay, progress, isConnected, move, range }) {
	const [, fresh, price, last, moves, why] = card.children;
	const trouble = !tick ? (progress ? "filling in" : "no price yet") : !isConnected ? "not connected" : stale && "stale";
	const age = tick && ` · ${replay ? moment(tick.slot) : `${span(now() - Date.parse(tick.slot))} ago`}`;
	write(fresh, `${trouble || replay || "fresh"}${age ?? ""}`, progress && !tick ? "" : `fresh ${trouble ? "bad" : ""}`);
	write(price, tick ? grouped(tick.price) : "–", `price ${trouble ? "old" : ""}`);
	const step = tick && before && change(before, tick.price);
	write(last, step?.amount ?? "", `arrow ${step?.direction ?? ""}`);
	write(moves, move && tick ? `${move.percent} (${move.amount}) ${range}` : "", `arrow ${(tick && move?.direction) || ""}`);
	write(why, gap ? `no price: ${words(gap.cause)}` : "");
}

/** Draws a small line of candles on a card. */
export function showSpark(card, candles) {
	const points = candles.map(({ start, close }) => [Date.parse(start), +close]);
	const [times, closes] = [0, 1].map((place) => points.map((point) => point[place]));
	const [low, high] = [Math.min(...closes), Math.max(...closes)];
	const scaled = ([time, close]) => [(100 * (time - times[0])) / (times.at(-1) - times[0] || 1), 23 - (22 * (close - low)) / (high - low || 1)];
	card.lastChild.firstChild.setAttribute("points", points.map(scaled).join(" "));
}

const showQuotes = (records) =>
	fill("quotes", records.map(({ pair, price, sequence, epoch, slot, quotes }) => [
		heading(`${pair} at ${clock(slot)} ${zone()}, poller term ${epoch}, `, make("a", `record ${sequence}`, { href: `v1/ticks/${sequence}` })),
		...(quotes ?? []).map(({ source, price: quoted, verdict }) =>
			row(source, quoted && grouped(quoted), quoted && change(price, quoted, 3).percent, make("td", words(verdict), { className: verdict === "used" ? "up" : "bad" }))),
	]));

const showAverages = (responses) =>
	fill("averages", responses.map(({ pair, windows }) => [
		heading(pair),
		...windows.map(({ window, twap, min, max, close, coverage }) => {
			const prices = [twap && Number(twap).toFixed(places(close)), min, max].map((price) => price && grouped(price));
			return row(span(milliseconds(window)), ...prices, share(coverage));
		}),
	]));

const showSources = ({ items }) => {
	findFailures(items);
	fill("sources", [items.map(({ source, share_used, verdicts, last_verdict }) => {
		const { used, ...others } = verdicts;
		return row(source, share(share_used), Object.entries(others).map(([verdict, count]) => `${words(verdict)} ${count}`).join(", "), words(last_verdict));
	})]);
};

/** Joins adjacent gaps of one cause, from the tick before to the tick after. */
export function joined(items) {
	const gaps = [];
	for (const item of items) {
		const [first, last, step, cause] = [Date.parse(item.from), Date.parse(item.to), milliseconds(item.interval), words(item.cause)];
		if (gaps.at(-1)?.cause !== cause || first > gaps.at(-1).to) gaps.push({ from: first - step, cause });
		const gap = gaps.at(-1);
		gap.to = last + step;
		gap.length = last - gap.from;
	}
	return gaps;
}

function showGaps(pairs) {
	const gaps = pairs.flatMap(({ name, gapItems }) => joined(gapItems).map((gap) => ({ name, ...gap })));
	const rows = gaps.sort((a, b) => b.to - a.to).map(({ name, from, length, cause }) => row(name, moment(from), span(length), cause));
	fill("gaps", [rows.length ? rows.slice(0, 8) : row("none in the last 24 h")]);
}

const showPoints = (panels) =>
	fill("points", panels.map(({ name, seen = [] }) => [
		heading(name),
		...seen.slice(-100).reverse().map(({ time, text }) => row(make("td", moment(time).split(" ").flatMap((part) => [make("span", part), " "])), ...Object.values(text).map(grouped))),
	]));

export async function readTables(pairs) {
	for (const element of document.querySelectorAll(".zone")) write(element, zone());
	showGaps(pairs);
	if (find("chart").hidden) showPoints(pairs);
	const ticks = pairs.map(({ tick }) => tick).filter(Boolean);
	showQuotes(await Promise.all(ticks.map(({ sequence }) => ask(`v1/ticks/${sequence}`))));
	showAverages(await Promise.all(ticks.map(({ pair }) => ask(`v1/prices/${pair}/averages?window=10m,1h,24h`))));
	showSources(await ask("v1/sources"));
}
