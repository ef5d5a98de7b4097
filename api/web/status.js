// Why there is no price: sources that fail, parts of the chart without records, and a past that is being filled in.

import { clock, date, words, zone } from "./text.js";

const { floor, max, min } = Math;

const UNREACHABLE = { dns: "no DNS", unreachable: "no connection", timeout: "no response", tls: "no valid certificate" };
const NAMES = new Intl.ListFormat("en-GB");
let failing = "";
/** Which sources fail, and why: "Coinbase and Kraken cannot be reached (no DNS)" */
export const failures = () => failing;

export function findFailures(items) {
	const groups = new Map();
	for (const { source, last_verdict, verdicts } of items) {
		// A source that failed is not asked for a while. The failure before that is the reason.
		const { used, backing_off, ...others } = verdicts;
		const [cause] = last_verdict === "backing_off" ? Object.keys(others).sort((a, b) => others[b] - others[a]) : [last_verdict];
		if (cause && cause !== "used") groups.set(cause, [...(groups.get(cause) ?? []), source[0].toUpperCase() + source.slice(1)]);
	}
	failing = [...groups].map(([cause, names]) => `${NAMES.format(names)} ${UNREACHABLE[cause] ? "cannot be reached" : "did not help"} (${UNREACHABLE[cause] ?? words(cause)})`).join("; ");
}

/** The parts of a view without records, and why. */
export function emptyOf({ since, newest, interval, gaps, progress }, { from, to }) {
	const found = [];
	const begin = min(since, gaps[0]?.from ?? to, to);
	if (begin > from) found.push({ from, to: begin, cause: since < to ? `no prices before ${date(since)} ${clock(since, 16)}` : "no records" });
	if (progress) found.push({ from: newest, to, cause: "not filled in yet" });
	else if (newest && to - newest > 6 * interval) found.push({ from: max(from, newest), to, cause: `no records since ${date(newest)} ${clock(newest, 16)}` });
	return found;
}

/** How much of the past has been filled in, while that goes on. */
export function progressOf({ tick, since, newest, moved }, present) {
	if (!tick && performance.now() - moved < 5_000) return `Filling in the past: ${floor((100 * (newest - since)) / (present - since)) || 0} %, up to ${date(newest)} ${clock(newest, 16)} ${zone()}.`;
}
