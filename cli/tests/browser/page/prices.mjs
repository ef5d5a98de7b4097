// Prices arrive through the stream and change. The page also shows the quotes that explain each pair's newest price.

import assert from "node:assert/strict";

import { PAIRS, answer, arrive, difference, grouped, until } from "./sight.mjs";

const CHANGES = 4;
const [MINUTE, HOUR] = [60_000, 3_600_000];

/** Without a range in its address, the page shows the longest one that the history fills at least by half, up to a day. */
async function fits(browser, url) {
  const began = (age) => ({
    "**/history?order=asc&limit=1": { items: [{ slot: new Date(Date.now() - age).toISOString(), price: "1" }] },
  });
  for (const [age, range] of [[5 * MINUTE, "10 min"], [3 * HOUR + MINUTE, "6 h"], [11 * HOUR, "6 h"], [13 * HOUR, "1 d"], [700 * HOUR, "1 d"]]) {
    const { page, address, isLive, goodbye } = await arrive(browser, url, {}, began(age));
    await isLive();
    await until(`${range} for ${age} ms`, () => page.getByRole("radio", { name: range }).isChecked());
    assert.equal(address().range, undefined, "a reload would not fit the history again");
    await goodbye();
  }

  // The range grows with the history until the user chooses one.
  const { page, address, isLive, goodbye } = await arrive(browser, url, {}, began(30 * MINUTE - 10_000));
  await isLive();
  await until("an hour that is half full", () => page.getByRole("radio", { name: "1 h" }).isChecked());
  await page.getByText("10 min", { exact: true }).first().click();
  await until("10 minutes, as chosen", address, ({ range }) => range === "600000ms");
  await page.waitForResponse((response) => response.url().endsWith("/v1/pairs"));
  await page.waitForResponse((response) => response.url().endsWith("/v1/pairs"));
  assert.equal(address().range, "600000ms");
  await goodbye();
}

export default async function ({ browser, url }) {
  await fits(browser, url);
  const { page, text, card, rows, isLive, goodbye } = await arrive(browser, url);
  await isLive();

  const seen = [await card("BTC-USD")];
  while (seen.length <= CHANGES) {
    seen.push(await until("another price", () => card("BTC-USD"), ({ price }) => price !== seen.at(-1).price));
  }
  const history = (await answer(url, "/v1/prices/BTC-USD/history?limit=1000")).items.reverse().map(({ price }) => price);
  for (const { price, step, direction, arrow, moves, fresh } of seen.slice(1)) {
    const found = history.flatMap((later, index) => (index && grouped(later) === price ? [difference(history[index - 1], later)] : []));
    assert(found.includes(step), `${price} ${step} is not in the log, where it moved by ${found}`);
    const expected = step.startsWith("+") ? "up" : step.startsWith("−") ? "down" : undefined;
    assert.equal(direction, expected, `${price} ${step}`);
    assert.equal(arrow !== "", expected !== undefined, `${price} ${step} has the arrow ${arrow}`);
    assert.match(moves, /^[+−]?\d+\.\d\d % \([+−]?[\d,.]+\) (over|since) \d/);
    assert.match(fresh, /^fresh · \d+ s ago$/);
  }
  for (const pair of PAIRS) {
    const both = async () => [(await card(pair)).price, grouped((await answer(url, `/v1/prices/${pair}`)).price)];
    await until(`the newest price of ${pair} as the API has it`, both, ([shown, answered]) => shown === answered);
  }
  const titled = async () => [await page.title(), (await card("BTC-USD")).price];
  await until("the price in the title", titled, ([title, price]) => title === `${price} BTC-USD · Tickwell`);
  assert.equal(await text("#banner"), "");
  assert.equal(await page.locator("#key").isVisible(), false);
  // Screen readers announce the first prices at once. Later prices are announced once a minute, or when a state changes.
  assert.match(await text("#spoken"), /^live, BTC-USD [\d.]+, ETH-USD [\d.]+$/);

  // The page shows the quotes of a tick as they are in the log.
  await until("quotes of both pairs", () => rows("quotes"), (found) => found.filter((cells) => cells.length === 1).length === 2);
  const [links, quotes] = await page.evaluate(() => {
    const table = document.getElementById("quotes");
    return [[...table.querySelectorAll("a")].map((link) => link.getAttribute("href")), [...table.rows].map((row) => [...row.cells].map((cell) => cell.innerText))];
  });
  const records = await Promise.all(links.map((link) => answer(url, link)));
  const expected = records.flatMap(({ pair, sequence, epoch, quotes }) => [
    [pair, `record ${sequence}`, `poller term ${epoch}`],
    ...quotes.map(({ source, price, verdict }) => [source, price ? grouped(price) : "–", verdict.replaceAll("_", " ")]),
  ]);
  assert.equal(quotes.length - 1, expected.length, JSON.stringify(quotes));
  for (const [index, cells] of quotes.slice(1).entries()) {
    for (const part of expected[index]) assert(cells.join(" ").includes(part), `${part} is not in ${cells}`);
  }
  const sources = (await rows("sources")).slice(1).map(([name]) => name);
  assert.deepEqual(sources.sort(), (await answer(url, "/v1/sources")).items.map(({ source }) => source).sort());
  const averages = (await rows("averages")).slice(1).map(([first]) => first);
  assert.deepEqual(averages, PAIRS.flatMap((pair) => [pair, "10 min", "1 h", "1 d"]));
  assert.match((await rows("gaps"))[1].join(), /none|USD/);

  // If the pod refuses one request, the page sends that request again at the normal interval, and does not reload the rest.
  const asked = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  const refusal = { status: 429, contentType: "application/problem+json", headers: { "retry-after": "1" }, body: '{"code":"rate_limited","detail":"too often"}' };
  await page.route("**/v1/sources", (route) => route.fulfill(refusal));
  await until("the reason", () => text("#banner"), (words) => words.startsWith("too many requests; continuing at"));
  await until("it to ask again", () => asked.filter((path) => path === "/v1/sources").length, (count) => count > 2);
  assert.deepEqual(asked.filter((path) => path.endsWith("/history")), []);
  await page.unroute("**/v1/sources");
  await until("nothing to say", () => text("#banner"), (words) => words === "");
  await goodbye(/status of 429/);
}
