// The chart waits only for the prices that it draws, and does not load prices again that it already has.

import assert from "node:assert/strict";

import { PAIRS, arrive, until, width } from "./sight.mjs";

export default async function ({ browser, url }) {
  // The chart needs none of these responses.
  const held = { "**/history?order=asc*": null, "**/v1/ticks/*": null, "**/v1/sources": null };
  const { page, plot, address, isLive, goodbye } = await arrive(browser, `${url}/#range=1h&average=10m`, {}, held);
  await isLive();
  for (const [panel, pair] of PAIRS.entries()) await until(`a line of ${pair}`, () => plot(panel), ({ line }) => width(line) > 0);
  const loaded = () => page.evaluate(() => performance.getEntriesByType("resource").map(({ name }) => name).filter((name) => /(history|candles)\?from/.test(name)));
  assert.deepEqual((await loaded()).map((request) => new URL(request).pathname), PAIRS.map((pair) => `/v1/prices/${pair}/history`));

  // The prices of an hour include those of 10 minutes.
  await page.getByText("10 min", { exact: true }).first().click();
  await until("10 minutes", address, ({ range }) => range === "600000ms");
  await until("a longer line", () => plot(), ({ line }) => width(line) > 6);
  assert.equal((await loaded()).length, PAIRS.length);

  await goodbye();
}
