// What the page shows if there is no price, if prices are simulated or replayed, or if the pod refuses requests.

import assert from "node:assert/strict";

import { PAIRS, answer, arrive, until, width } from "./sight.mjs";

/** The last slot of the recording. */
const END = "2023-03-06 02:00:00";

/** The message that the browser itself logs for a response with an error status. */
const ANSWERED = /the server responded with a status of (401|503)/;

/** Without internet, the page says so, and is not green. */
async function offline(browser, url) {
  const source = (source, last_verdict, verdicts) => ({ source, share_used: "0.00000000", last_verdict, verdicts });
  const items = [source("coinbase", "dns", { dns: 5 }), source("kraken", "backing_off", { backing_off: 9, dns: 3 }), source("gemini", "http_451", { http_451: 4 })];
  const { page, text, goodbye } = await arrive(browser, url, {}, { "**/v1/sources": { items } });
  const expected = "No price yet: Coinbase and Kraken cannot be reached (no DNS); Gemini did not help (http 451).";
  await until("which sources cannot be reached", () => text("#banner"), (words) => words === expected);
  const colour = (name) => page.evaluate((name) => {
    const probe = document.body.appendChild(Object.assign(document.createElement("i"), { className: name }));
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  }, name);
  assert.equal(await page.locator("#state").evaluate((element) => getComputedStyle(element).color), await colour("bad"));
  await goodbye();
}

/** While the past is being filled in, the page says how far that is. */
async function fills(browser, url) {
  const [minute, end] = [60_000, Date.now()];
  const start = end - 100 * minute;
  let slots = 20;
  const past = (count) => Array.from({ length: count }, (_, index) => ({ slot: new Date(start + index * minute).toISOString(), price: `${100 + index}.00`, sequence: index + 1, backfilled: true }));
  const pairs = () => {
    slots += 5;
    return { items: PAIRS.map((pair) => ({ pair, slot: past(slots).at(-1).slot, sequence: slots, interval: "10s", origin: "live", stale: true })) };
  };
  const history = () => ({ items: past(slots).reverse() });
  const canned = { "**/history?*": history, "**/history?order=asc*": { items: past(1) }, "**/v1/pairs": pairs };
  const { text, plot, goodbye } = await arrive(browser, `${url}/#range=6h`, {}, canned, () => {
    // Streams do not send what is backfilled.
    const { fetch } = window;
    window.fetch = (path, ...how) => (path === "v1/stream" ? Promise.resolve(new Response(new ReadableStream())) : fetch(path, ...how));
  });
  const banner = /^Filling in the past: (\d+) %, up to \d+ \w+ \d\d:\d\d UTC\.$/;
  const share = async () => Number(banner.exec(await text("#banner"))?.[1] ?? NaN);
  const first = await until("progress", share);
  assert(first >= 25 && first <= 100, `${first}`);
  assert.equal(await text("#state"), "filling in");
  const before = width((await plot()).line);
  await until("more progress", share, (later) => later > first);
  await until("a longer line", () => plot(), ({ line }) => width(line) > before);
  await goodbye();
}

export default async function ({ browser, url, behind }) {
  // Sources fail from the first slot on.
  const empty = await arrive(browser, url);
  const failing = "No price yet: Bitstamp, Coinbase and Kraken did not help (http 5xx).";
  await until("no price yet, and why", () => empty.text("#banner"), (words) => words === failing);
  assert.equal((await empty.card("BTC-USD")).fresh, "no price yet");
  assert.equal((await empty.card("BTC-USD")).price, "–");
  assert.equal(await empty.text("#state"), "no price");
  await offline(browser, url);
  await fills(browser, url);
  assert.equal(await empty.page.title(), "Tickwell");
  assert.match(await empty.text("#spoken"), /BTC-USD no price yet/);
  await behind("sources recover");
  await empty.isLive();
  await until("nothing to say", () => empty.page.locator("#banner").isVisible(), (isVisible) => !isVisible);
  await empty.goodbye();

  const starting = await arrive(browser, await behind("start a pod without a log"));
  const { detail, code } = await answer(starting.page.url(), "/v1/prices");
  assert.equal(code, "starting");
  await until("that it starts", () => starting.text("#banner"), (words) => words === `No price yet: ${detail}.`);
  assert.notEqual(await starting.text("#state"), "live");
  await behind("start the log");
  await starting.isLive();
  await starting.goodbye(ANSWERED);

  for (const [what, says] of [["a demo", "Simulated: "], ["a replay", "Replayed: "]]) {
    const other = await arrive(browser, await behind(`start ${what}`));
    await until(`that it is ${what}`, () => other.text("#banner"), (words) => words.startsWith(says));
    assert(await other.page.locator("#banner").isVisible());
    await until("a price beside it", () => other.card("BTC-USD"), ({ price }) => /\d/.test(price));
    if (says === "Replayed: ") {
      const last = async () => (await answer(other.page.url(), "/v1/prices/BTC-USD")).slot?.slice(0, 19).replace("T", " ");
      await until("the end of the recording", last, (slot) => slot === END);
      const shown = async () => (await other.card("BTC-USD")).fresh;
      await until("its last price", shown, (fresh) => fresh === `replayed · ${END}`);
      // The recording has a slot per minute, so a minute and a half without one means that it has ended.
      await other.page.evaluate(() => {
        const now = performance.now.bind(performance);
        performance.now = () => now() + 95_000;
      });
      await until("that it has ended", shown, (fresh) => fresh === `recording ended · ${END}`);
    }
    // The replay runs as fast as possible, so the pod may refuse a request for one of the tables with 503.
    await other.goodbye(ANSWERED);
  }

  const address = await behind("start a pod with keys");
  const sent = [];
  const keyed = await arrive(browser, address);
  keyed.page.on("request", (request) => sent.push(request.headers()["x-api-key"]));
  const asks = async () => [await keyed.page.locator("#key").isVisible(), await keyed.text("#banner")];
  await until("that it asks for a key", asks, ([isVisible, words]) => isVisible && words !== "");
  const use = async (key) => {
    await keyed.page.getByLabel("API key").fill(key);
    await keyed.page.keyboard.press("Enter");
  };
  assert.equal((await asks())[1], `No price yet: ${(await answer(address, "/v1/prices")).detail}.`);
  const tried = keyed.page.waitForResponse((response) => response.request().headers()["x-api-key"] === "wrong");
  await use("wrong");
  assert.equal((await tried).status(), 401);
  await until("that it is not known", asks, ([isVisible, words]) => isVisible && words === "No price yet: this key is not valid.");
  await use("foo");
  await keyed.isLive();
  assert.deepEqual(await asks(), [false, ""]);
  // The page remembers the key, so it does not ask for the key after a reload.
  await keyed.page.reload();
  await keyed.isLive();
  assert.deepEqual([...new Set(sent.filter(Boolean))], ["wrong", "foo"]);
  await keyed.goodbye(ANSWERED);
}
