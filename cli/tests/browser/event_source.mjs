// Follows event streams with `EventSource`, and prints what it hears:
//   node event_source.mjs npm URL     the npm package `eventsource`
//   node event_source.mjs browser URL the browser's own
//
// Each line is JSON with `kind`: open, error (`closed` is true if the client has given up), or the kind of an event. An
// event has its id and data.

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import { launch } from "./browser.mjs";

const [implementation, url] = process.argv.slice(2);

/** Runs in this process, or in a page. */
function follow(url) {
  const stream = new EventSource(url);
  const say = (what) => globalThis.heard(JSON.stringify(what));
  for (const kind of ["tick", "gap", "reset", "end"]) {
    stream.addEventListener(kind, ({ data, lastEventId }) => say({ kind, id: lastEventId, data: JSON.parse(data) }));
  }
  stream.onopen = () => say({ kind: "open" });
  stream.onerror = () => say({ kind: "error", closed: stream.readyState === EventSource.CLOSED });
}

if (implementation === "npm") {
  const packages = createRequire(fileURLToPath(new URL("../../../.tools/node/", import.meta.url)));
  globalThis.EventSource = packages("eventsource").EventSource;
  globalThis.heard = console.log;
  follow(url);
} else {
  const browser = await launch();
  const page = await browser.newPage();
  await page.exposeFunction("heard", console.log);
  // Any HTML page of the pod will do, as long as it makes no requests of its own.
  await page.goto(new URL("/docs/errors", url).href);
  await page.evaluate(follow, url);
}
