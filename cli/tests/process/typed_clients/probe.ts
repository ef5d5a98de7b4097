// Prints the responses that a generated client read, as JSON: node probe.js URL SEQUENCE TICK FROM

import createClient from "openapi-fetch";
import type { components, paths } from "./tickwell";

/** The media types of responses that are read as JSON. */
type Json = "application/json" | "application/problem+json";

declare const process: { argv: string[] };

const [url, sequence, tick, from] = process.argv.slice(2);
const at_sequence = Number(sequence);
const client = createClient<paths, Json>({ baseUrl: url });
const path = { pair: "BTC-USD" };
const query = { at_sequence };

/** The types say what a client may do with a response. tsc checks this function, and nothing calls it. */
export function describe(event: components["schemas"]["Event"], gap: components["schemas"]["GapItem"]): string {
  // The kind decides which members there are.
  const what: string = event.kind === "tick" ? event.price : event.kind === "gap" ? event.cause : event.code;
  // @ts-expect-error A word that is not in the list.
  if (gap.cause === "no_quorum") return "never";
  // @ts-expect-error Null has to be handled.
  gap.sequence.toFixed();
  return what;
}

function found<T>({ data, error }: { data?: T; error?: unknown }): T {
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

const { error } = await client.GET("/v1/prices/{pair}", { params: { path: { pair: "XXX-USD" } } });
if (error?.code !== "unknown_pair") throw new Error(JSON.stringify(error));

const history = found(
  await client.GET("/v1/prices/{pair}/history", { params: { path, query: { ...query, from, limit: 3 } } }),
);
// This would not compile if the type were `History | string`.
const items: components["schemas"]["HistoryItem"][] = history.items;

console.log(JSON.stringify({
  history: { ...history, items },
  price: found(await client.GET("/v1/prices/{pair}", { params: { path, query } })),
  prices: found(await client.GET("/v1/prices", { params: { query } })),
  pairs: found(await client.GET("/v1/pairs", { params: { query } })),
  averages: found(await client.GET("/v1/prices/{pair}/averages", { params: { path, query } })),
  convert: found(await client.GET("/v1/convert", { params: { query: { ...query, from: "ETH", to: "BTC" } } })),
  thinned: found(await client.GET("/v1/prices/{pair}/history", { params: { path, query: { ...query, max_points: 4 } } })),
  candles: found(await client.GET("/v1/prices/{pair}/candles", { params: { path, query: { ...query, interval: "1m" } } })),
  gaps: found(await client.GET("/v1/prices/{pair}/gaps", { params: { path, query: { ...query, cause: "missed" } } })),
  at: found(await client.GET("/v1/prices/{pair}/at", { params: { path, query: { ...query, time: [from] } } })),
  tick: found(await client.GET("/v1/ticks/{sequence}", { params: { path: { sequence: Number(tick) }, query } })),
  sources: found(await client.GET("/v1/sources", { params: { query } })),
}));
