// Requests to the pod, and the stream of events.

import { clock } from "./text.js";

/** Streams send something every 15 s, unless broken. */
const SILENCE = 25_000;
/** After this many failures in a row, the state is offline. */
const PATIENCE = 3;
/** The codes after which the cursor is dropped. */
const LOST = ["unknown_cursor", "sequence_gone", "log_replaced", "history_gone"];

let ahead = 0;
/** The pod's clock. */
export const now = () => Date.now() + ahead;

const refused = ({ code, detail }) => Object.assign(new Error(detail), { code });

/** The error of all requests while the pod limits their rate. */
let limited;

async function request(path, signal, headers) {
	if (limited) throw limited;
	const { apiKey } = sessionStorage;
	const response = await fetch(path, { headers: { ...headers, ...(apiKey && { "X-API-Key": apiKey }) }, cache: "no-cache", signal });
	const date = Date.parse(response.headers.get("Date")) + 500;
	if (Math.abs(date - now()) > 1_000) ahead = date - Date.now();
	if (response.ok) return response;
	if (response.status === 429) {
		const pause = 1e3 * (parseInt(response.headers.get("Retry-After")) || 5);
		setTimeout(() => (limited = undefined), pause);
		throw (limited = Error(`too many requests; continuing at ${clock(now() + pause)}`));
	}
	throw refused(await response.json().catch(() => ({ detail: `the response is HTTP ${response.status}` })));
}

export const ask = async (path, signal) => (await request(path, signal)).json();

/** The newest `count` items of a list, oldest first. Each thousand counts as a request for the rate limit. */
export const list = async (path, count, signal) => (await ask(`${path}&limit=${Math.min(10_000, Math.ceil(count))}`, signal)).items.reverse();

async function* connection(cursor, opened) {
	const abort = new AbortController();
	let watchdog;
	const alive = () => {
		clearTimeout(watchdog);
		watchdog = setTimeout(() => abort.abort(), SILENCE);
	};
	// A network that is gone does not close the connection.
	addEventListener("offline", () => abort.abort(), { signal: abort.signal });
	try {
		alive();
		const { body } = await request("v1/stream", abort.signal, { Accept: "application/x-ndjson", ...(cursor && { "Last-Event-ID": cursor }) });
		opened();
		const reader = body.pipeThrough(new TextDecoderStream()).getReader();
		let rest = "";
		for (;;) {
			const { done, value } = await reader.read();
			if (done) return;
			alive();
			const lines = (rest + value).split("\n");
			rest = lines.pop();
			for (const line of lines) if (line) yield JSON.parse(line);
		}
	} finally {
		clearTimeout(watchdog);
		abort.abort();
	}
}

/** Follows the log forever. Calls `begin` if it has no cursor, `event` for ticks and gaps, `state` for the connection. */
export async function follow({ begin, event, state }) {
	let cursor;
	for (let failures = 0; ; failures++) {
		let reason;
		try {
			if (!cursor) await begin();
			for await (const next of connection(cursor, () => state("live"))) {
				if (next.kind === "end") throw refused(next);
				failures = 0;
				cursor = next.id;
				event(next);
			}
		} catch (error) {
			reason = error;
		}
		if (LOST.includes(reason?.code)) cursor = undefined;
		state(failures < PATIENCE && navigator.onLine ? "reconnecting" : "offline", reason);
		await new Promise((resolve) => {
			setTimeout(resolve, Math.min(15_000, 500 * 2 ** failures) * (0.75 + Math.random() / 2));
			addEventListener("online", resolve, { once: true });
		});
	}
}
