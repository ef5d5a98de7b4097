// Behind a proxy that removes a prefix of the path, the page has a live chart, and Swagger UI sends requests to the pod.

import assert from "node:assert/strict";

import { visit } from "../browser.mjs";
import { answer, arrive, until, width } from "./sight.mjs";

export default async function ({ browser, url }) {
  const { pathname } = new URL(url);
  assert.notEqual(pathname, "/");
  const { page, plot, card, rows, isLive, goodbye } = await arrive(browser, `${url}/#range=20s`, {});
  await isLive();
  await until("a line", () => plot(), ({ line }) => width(line) > 4);
  const { price } = await card("BTC-USD");
  await until("another price, which the stream brought", () => card("BTC-USD"), (now) => now.price !== price);
  for (const table of ["quotes", "sources", "averages"]) await until(table, () => rows(table), (found) => found.length > 1);

  // Every link of the page leads to the pod.
  const links = await page.locator("a").evaluateAll((all) => all.map(({ href }) => href));
  assert(links.some((link) => /\/v1\/ticks\/\d+$/.test(link)), `${links}`);
  for (const link of links) {
    assert(link.startsWith(`${url}/`), link);
    const response = await fetch(link);
    assert.equal(response.status, 200, link);
    await response.body.cancel();
  }
  await goodbye();

  const docs = await visit(browser, `${url}/docs`);
  const operation = docs.page.locator("#operations-Prices-getPrice");
  await operation.locator(".opblock-summary-control").click();
  await operation.locator(".try-out__btn").click();
  const answered = docs.page.waitForResponse((response) => response.url().includes("/v1/"));
  await operation.locator(".execute").click();
  const response = await answered;
  assert.equal(response.status(), 200);
  const asked = new URL(response.url());
  assert.equal(asked.pathname, `${pathname}/v1/prices/BTC-USD`);
  const shown = operation.locator(".live-responses-table .response .response-col_status").first();
  assert.match(await shown.innerText(), /^200/);
  const { pair, sequence } = await response.json();
  assert.deepEqual((await answer(`${url}/`, `/v1/ticks/${sequence}`)).pair, pair);
  assert.deepEqual(docs.problems, []);
  await docs.leave();
}
