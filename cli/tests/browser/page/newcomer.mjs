// What a newcomer may wonder about: how to touch the chart, which times are shown, where the history begins, and how to get the feed.

import assert from "node:assert/strict";

import { visit } from "../browser.mjs";
import { answer, arrive, until } from "./sight.mjs";

const HOUR = 3_600_000;

/** The hints are for the fingers of a phone, or for mouse and keyboard. */
async function hints(browser, url) {
  for (const [options, expected, other] of [[{ isMobile: true, hasTouch: true }, "two fingers", "Esc"], [{}, "Esc", "two fingers"]]) {
    const { text, isLive, goodbye } = await arrive(browser, url, options);
    await isLive();
    const help = await text("#help");
    assert(help.includes(expected) && !help.includes(other), help);
    await goodbye();
  }
}

/** Times are UTC, or on request those of the browser. */
async function zones(browser, url) {
  const { page, words, points, address, isLive, goodbye } = await arrive(browser, `${url}/#range=10m&table=on`, { timezoneId: "Asia/Kolkata" });
  await isLive();
  const newest = async () => {
    const shown = (await points())["BTC-USD"]?.at(-1)?.[0];
    return shown && Date.parse(`${shown.replace(" ", "T")}Z`) - Date.parse((await answer(url, "/v1/prices/BTC-USD")).slot);
  };
  const isNear = (wanted) => (difference) => Math.abs(difference - wanted) < HOUR / 6;
  await until("times in UTC", newest, isNear(0));
  await page.getByRole("checkbox", { name: "Local time" }).check();
  await until("times in India", newest, isNear(5.5 * HOUR));
  await until("the choice in the address", address, ({ local }) => local);
  assert.match(await page.locator("#points th").first().innerText(), /local/);
  await page.getByRole("checkbox", { name: "Table" }).uncheck();
  await until("the zone in the chart", words, (drawn) => drawn.includes("local") && !drawn.includes("UTC"));
  await goodbye();
}

/** The chart says where the history begins, and ranges that would show nothing more are marked. */
async function ranges(browser, url) {
  const { page, words, isLive, goodbye } = await arrive(browser, `${url}/#range=1d`, { locale: "en-GB" });
  await isLive();
  const oldest = (await answer(url, "/v1/prices/BTC-USD/history?order=asc&limit=1")).items[0].slot;
  const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" }).format(new Date(oldest));
  await until("where the history begins", words, (drawn) => drawn.includes(`no prices before ${day} ${oldest.slice(11, 16)}`));
  const marked = () => page.locator("#ranges label").evaluateAll((labels) => labels.filter(({ title }) => title).map(({ textContent }) => textContent));
  // The history is a few minutes old.
  assert.deepEqual(await marked(), ["1 h", "6 h", "1 d", "7 d", "30 d", "360 d"]);
  await goodbye();
}

/** Each card has a small line of the last day: here from the lower left to the upper right, with a fall in the middle. */
async function sparks(browser, url) {
  const closes = [100, 104, 102, 110];
  const items = closes.map((price, index) => {
    const close = `${price}.00`;
    return { start: new Date(Date.now() - (4 - index) * HOUR).toISOString(), open: close, high: close, low: close, close };
  });
  const { page, isLive, goodbye } = await arrive(browser, url, {}, { "**/candles?*": { items: items.reverse() } });
  await isLive();
  const line = page.locator(".card").filter({ hasText: "ETH-USD" }).locator("polyline");
  const drawn = await until("a line", () => line.getAttribute("points"));
  const places = drawn.split(" ").map((place) => place.split(",").map(Number));
  assert.deepEqual(places.map(([x]) => Math.round(x)), [0, 33, 67, 100]);
  const [low, first, second, high] = [places[0][1], places[1][1], places[2][1], places[3][1]];
  // y grows downwards.
  assert(low > high, drawn);
  assert(Math.abs((low - first) / (low - high) - 0.4) < 0.01 && Math.abs((low - second) / (low - high) - 0.2) < 0.01, drawn);
  await goodbye();
}

/** The links to the feeds lead to pages for people. */
async function feeds(browser, url) {
  const { page, problems, leave } = await visit(browser, url);
  for (const [name, part] of [["Feed", "curl -N"], ["NATS", "nats sub"]]) {
    const link = await page.getByRole("link", { name }).getAttribute("href");
    const other = await visit(browser, new URL(link, `${url}/`).href);
    const text = await other.page.locator("body").innerText();
    assert(text.includes(part), text);
    const links = await other.page.locator("a").evaluateAll((links) => links.map(({ href }) => href));
    for (const href of links) {
      const stop = new AbortController();
      assert.equal((await fetch(href, { signal: stop.signal })).status, 200, href);
      stop.abort();
    }
    assert.deepEqual(other.problems, []);
    await other.leave();
  }
  assert.deepEqual(problems, []);
  await leave();
}

export default async function ({ browser, url }) {
  await hints(browser, url);
  await zones(browser, url);
  await ranges(browser, url);
  await sparks(browser, url);
  await feeds(browser, url);
}
