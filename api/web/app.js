// The page: its state, its view, and when to load data.

import { draw } from "./chart.js";
import { ask, follow, list, now } from "./feed.js";
import { listen } from "./gestures.js";
import { find, joined, make, makeCard, readTables, showCard, showSpark, write } from "./panels.js";
import { moved, nearest, resolution, search, within, zoomed } from "./scale.js";
import { append, pointOf } from "./series.js";
import { emptyOf, failures, progressOf } from "./status.js";
import { DAY, change, grouped, milliseconds, moment, showLocal, span, words } from "./text.js";

const { abs, ceil, floor, max, min, round } = Math;

const RANGES = ["10m", "1h", "6h", "1d", "7d", "30d", "360d"].map(milliseconds);
const ORIGINS = { simulated: "Simulated: these prices are made up.", replay: "Replayed: these are not today's prices." };

const canvas = find("chart");
const controls = find("controls");
const pairs = new Map();
/** The view: its pairs, its length in milliseconds, whether that fits the history, and its end (now if undefined). */
let [chosen, length, isFitted, until] = [[], DAY];
let [connection, reason] = ["connecting"];
let cursor, loading, unread, isReading, frame, spoken;
let timeAt = () => 0;

function shown() {
	const found = chosen.map((name) => pairs.get(name)).filter(Boolean);
	return found.length ? found : [...pairs.values()].slice(0, 2);
}

const names = () => shown().map(({ name }) => name);

/** The current time, or the newest slot of a replay. */
const present = () => max(0, ...[...pairs.values()].map(({ newest, origin }) => max(newest, origin === "replay" ? 0 : now())));
const view = (to = until ?? present()) => ({ from: to - length, to });
/** How long the history is: undefined while that is not known. */
const age = () => {
	const known = shown().map(({ since }) => since).filter((since) => since !== undefined);
	return known.length ? present() - min(...known) : undefined;
};
/** The longest range that the history fills at least by half, up to a day. */
const fitting = () => (age() === undefined ? DAY : (RANGES.findLast((range) => range <= min(DAY, 2 * age())) ?? RANGES[0]));
const average = () => milliseconds(controls.average.value) || 0;

function remember() {
	const address = new URLSearchParams(new FormData(controls));
	if (isFitted) address.delete("range");
	else address.set("range", `${round(length)}ms`);
	if (until) address.set("to", round(until));
	if (chosen.length) address.set("pairs", chosen.join());
	history.replaceState(null, "", `#${address}`);
}

function recall() {
	const address = new URLSearchParams(location.hash.slice(1));
	length = min(milliseconds(address.get("range")), 366 * DAY);
	isFitted = !length;
	until = max(0, min(address.get("to"), now())) || undefined;
	chosen = address.get("pairs")?.split(",") ?? [];
	controls.average.value = address.get("average") ?? "10m";
	for (const name of ["candles", "table", "local"]) controls[name].checked = address.has(name);
}

/** Loads the data of the view. */
async function read(pair, signal) {
	const lead = max(average(), length / 8);
	const { candles, step } = resolution(length, pair.interval, controls.candles.checked && controls.clientWidth / 6, lead);
	const start = view().from - lead;
	const to = until < pair.newest ? ceil(until + step) : "";
	pair.range = undefined;
	if (pair.step === step && pair.candles === candles && pair.to === to && pair.start <= start) return;
	const path = (route, from) => `v1/prices/${pair.name}/${route}from=${floor(from)}`;
	const [items, gapItems] = await Promise.all([
		list(path(candles ? `candles?interval=${candles}&` : "history?", start) + (to && `&to=${to}`), ((to || present()) - start) / step + 10, signal),
		list(path("gaps?", min(start, present() - DAY)), 1_000, signal),
	]);
	const points = items.map(pointOf);
	Object.assign(pair, { candles, step, to, start, points, gapItems, gaps: undefined, range: undefined, note: "no prices" });
	for (const event of pair.recent) append(pair, event);
}

function showRanges() {
	for (const [index, radio] of [...controls.range].entries()) {
		radio.checked = !until && Number(radio.value) === length;
		// A range is empty if the one before it shows almost the whole history.
		const isEmpty = 1.05 * RANGES[index - 1] >= age();
		radio.parentNode.classList.toggle("empty", isEmpty);
		radio.parentNode.title = isEmpty ? `shows no more than ${span(RANGES[index - 1])}: there are no older prices` : "";
	}
}

/** Updates the page after the view has changed. */
async function look(pause) {
	if (isFitted) length = fitting();
	showRanges();
	showLocal(controls.local.checked);
	canvas.hidden = controls.table.checked;
	find("points").parentNode.hidden = !canvas.hidden;
	redraw();
	loading?.abort();
	const { signal } = (loading = new AbortController());
	// Only the last of several calls loads.
	await new Promise((resolve) => (pause ? setTimeout(resolve, pause) : resolve()));
	if (signal.aborted) return;
	remember();
	await Promise.all(shown().map((pair) => read(pair, signal))).then(() => (unread = undefined), (error) => signal.aborted || (unread = error));
	if (signal.aborted) return;
	loading = undefined;
	redraw();
	refresh();
}

function know({ pair: name, interval, origin }) {
	if (!pairs.has(name)) {
		const hue = `line-${pairs.size % 2}`;
		const card = makeCard(name, hue);
		card.onclick = () => {
			chosen = names().includes(name) ? names().filter((other) => other !== name) : [...names(), name];
			look();
		};
		find("cards").append(card);
		pairs.set(name, { name, card, hue, newest: 0, points: [], recent: [], gapItems: [], empty: [], note: "loading …" });
		readSince(pairs.get(name));
		look();
	}
	return Object.assign(pairs.get(name), { origin, interval: milliseconds(interval) });
}

/** Finds out when the history of a pair begins: never, as long as it has no price. */
async function readSince(pair) {
	const { items } = await ask(`v1/prices/${pair.name}/history?order=asc&limit=1`).catch(() => ({}));
	if (items) pair.since = items.length ? Date.parse(items[0].slot) : Infinity;
	showRanges();
	if (isFitted && length !== fitting()) look();
}

async function begin() {
	const { items } = await ask("v1/pairs");
	pairs.clear();
	find("cards").replaceChildren();
	for (const item of items) Object.assign(know(item), { stale: item.stale, newest: Date.parse(item.slot) });
	look();
}

function take(event) {
	const pair = know(event);
	const time = Date.parse(event.slot);
	if (time <= pair.time) return;
	pair.time = pair.newest = time;
	pair.arrived = performance.now();
	// Streams do not send what was backfilled before.
	const isSeam = !pair.tick && pair.points.at(-1)?.past;
	if (event.kind === "gap") pair.gap = event;
	else Object.assign(pair, { before: pair.tick?.price, tick: event, gap: undefined, stale: false });
	pair.recent = [...pair.recent.slice(-99), event];
	append(pair, event);
	if (event.kind === "tick" && !(pair.since < time)) pair.since = time;
	if (isSeam) reload(pair);
	redraw();
}

function reload(pair) {
	pair.start = undefined;
	readSince(pair);
	look();
}

// A hidden page gets no animation frames.
const redraw = () => (frame ??= (document.hidden ? setTimeout : requestAnimationFrame)(() => paint()));

function paint() {
	frame = undefined;
	const seen = view();
	if (cursor < seen.from) cursor = undefined;
	for (const pair of pairs.values()) {
		pair.seen = within(pair.points, seen);
		pair.gaps ??= joined(pair.gapItems);
		pair.progress = progressOf(pair, present());
		pair.empty = emptyOf(pair, seen);
		pair.label = until ? "" : pair.tick && grouped(pair.tick.price);
	}
	const panels = shown();
	// The canvas comes first. If the cards changed before its size is read, the browser would compute the layout twice.
	// An empty chart would delay the first lines.
	const isReady = panels.length && !(loading && panels.every(({ step }) => !step));
	if (!canvas.hidden && isReady) timeAt = draw(canvas, { panels, view: seen, cursor, candles: controls.candles.checked, average: average() });
	for (const pair of pairs.values()) {
		const { name, card, origin, interval } = pair;
		// The change is since the first point of the chart, or of the line on the card of a pair that was never in the chart.
		const [first, last] = pair.step ? [pair.seen[0], pair.seen.at(-1)] : [pair.first, pair.points.at(-1)];
		const start = first?.time ?? 0;
		const range = abs(start - seen.from) < max(2 * interval, pair.step ?? 0, first?.past ? 120_000 : 0) ? `over ${span(length)}` : `since ${moment(start).slice(0, 16)}`;
		const move = first && last && change(first.text.open, last.text.close);
		// A replay is at least as fast as real time.
		const hasEnded = performance.now() - pair.arrived > 1.5 * interval + 2_000;
		const replay = origin === "replay" && (hasEnded ? "recording ended" : "replayed");
		card.ariaPressed = names().includes(name);
		showCard(card, { ...pair, replay, isConnected: connection === "live", move, range });
	}
	showState(panels);
}

function showState(panels) {
	const [{ name, tick, candles, gap, stale, origin, seen } = {}] = panels;
	const past = seen?.[0]?.past ? " Dashed or pale: filled in afterwards." : "";
	write(find("drawn"), `Drawn: ${candles ? `${candles} candles` : "every tick"}. Shaded: gaps.${past}`);
	const hasPrice = panels.some(({ tick }) => tick);
	const filling = panels.map(({ progress }) => progress).find(Boolean);
	const shownState = connection !== "live" || hasPrice ? connection : filling ? "filling in" : "no price";
	write(find("state"), shownState, shownState === "no price" && gap ? "bad" : shownState);
	const isRefused = reason?.code === "unauthorized";
	const why = isRefused && sessionStorage.apiKey ? "this key is not valid" : gap ? failures() || words(gap.cause) : (reason?.message ?? "waiting for the first slot");
	const trouble = filling ? filling : !tick ? `No price yet: ${why}.` : gap && failures() ? `No new price: ${failures()}.` : connection === "offline" ? `Not connected: ${why}.` : connection === "live" && reason?.message;
	write(find("banner"), [trouble, ORIGINS[origin]].filter(Boolean).join(" "));
	find("key").hidden = !isRefused;
	const state = connection !== "live" ? connection : stale ? "stale" : "";
	write(document.querySelector("title"), tick ? `${state} ${grouped(tick.price)} ${name} · Tickwell`.trim() : "Tickwell");
	const states = `${connection}${panels.map(({ tick, stale }) => [!tick, stale])}`;
	if (states === spoken) return;
	spoken = states;
	write(find("spoken"), [connection, ...panels.map(({ name, tick, stale }) => `${name} ${tick?.price ?? "no price yet"}${stale ? " stale" : ""}`)].join(", "));
}

/** Loads the tables, and which prices are stale. */
async function refresh() {
	// The chart comes first.
	if (connection !== "live" || loading || isReading) return;
	isReading = true;
	try {
		for (const item of (await ask("v1/pairs")).items) {
			const pair = know(item);
			const slot = Date.parse(item.slot);
			if (!pair.tick && pair.points.at(-1)?.past && slot > pair.newest && !(performance.now() - pair.moved < 900)) {
				pair.moved = performance.now();
				reload(pair);
			}
			pair.newest = max(pair.newest, slot);
			pair.stale = item.stale;
		}
		if (!document.hidden) await readTables(shown());
		for (const pair of pairs.values()) {
			const { candles } = resolution(DAY, pair.interval, 100);
			if (!pair.tick || now() - pair.sparked < 300_000) continue;
			const day = await list(`v1/prices/${pair.name}/candles?interval=${candles}&from=${present() - DAY}`, 101);
			showSpark(pair.card, day);
			Object.assign(pair, { sparked: now(), first: day.length && pointOf(day[0]) });
		}
		reason = unread;
	} catch (error) {
		reason = error;
	}
	isReading = false;
	redraw();
}

function show({ from, to }) {
	length = to - from;
	isFitted = false;
	until = to >= present() - length / 200 ? undefined : to;
	look(150);
}

function point(time) {
	cursor = time;
	redraw();
}

find("ranges").append(...RANGES.map((value) => make("label", [make("input", "", { type: "radio", name: "range", value }), span(value)])));
controls.onchange = ({ target }) => {
	if (target.name === "range") [length, isFitted, until] = [Number(target.value)];
	look();
};
find("key").onsubmit = (event) => {
	event.preventDefault();
	sessionStorage.apiKey = event.target.elements[0].value;
	dispatchEvent(new Event("online"));
};
listen(canvas, {
	live: () => {
		[until, cursor] = [];
		look();
	},
	zoom: (factor, x) => show(zoomed(view(), factor, x === undefined ? (cursor ?? view().to) : timeAt(x), 12 * (shown()[0]?.interval ?? 0), present())),
	pan: (pixels) => show(moved(view(), timeAt(pixels) - timeAt(0), present())),
	point: (x) => {
		const { points, step } = shown()[0] ?? { points: [] };
		const time = x && timeAt(x);
		const next = nearest(points, time);
		point(abs(next?.time - time) < step ? next.time : time);
	},
	step: (count) => {
		const seen = shown()[0]?.seen ?? [];
		const at = cursor ? search(seen, cursor) + count * ceil(seen.length / 200) : seen.length - 1;
		point(seen[min(max(at, 0), seen.length - 1)]?.time);
	},
});
document.onvisibilitychange = () => {
	frame = undefined;
	refresh();
};
setInterval(redraw, 1_000);
// Reload each 5 s, or each second until there is a price. Screen readers speak each minute.
setInterval(() => (unread || (isFitted && length < fitting()) ? look() : refresh()), 5_000);
setInterval(() => shown().some(({ tick }) => tick) || refresh(), 1_000);
setInterval(() => (spoken = ""), 60_000);
(onhashchange = () => {
	recall();
	look();
})();
follow({
	begin,
	event: take,
	state: (next, why) => {
		[connection, reason] = [next, why];
		redraw();
		refresh();
	},
});
