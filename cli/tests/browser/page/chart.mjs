// The chart draws what is in the log: lines where there are ticks, shading where there are gaps.

import assert from "node:assert/strict";

import { PAIRS, answer, arrive, grouped, holds, until, width } from "./sight.mjs";

/** The range of the chart, in milliseconds. */
const RANGE = 20_000;
/** How long before the end of the range the gap ends, in milliseconds. */
const BEHIND = 2_000;

/** The interval between two ticks, in milliseconds. */
const STEP = 500;

/** How many columns of pixels a line may be away from the position of its tick. */
const BLUR = 2;

/** The numbers that the chart shows, which include those of the price axis. */
const numbers = (words) => words.filter((text) => /^[\d,.]+$/.test(text));

/** A part of the prices whose spread is a bit smaller has the same axis as if the page had always shown this part. */
async function fits(browser, url) {
  const to = Date.now() - RANGE;
  // Newest first, as in the API's responses.
  const items = Array.from({ length: RANGE / STEP }, (_, index) => {
    const prices = index > RANGE / STEP / 2 ? ["100", "110"] : ["102.5", "109.4"];
    return { slot: new Date(to - index * STEP).toISOString(), price: prices[index % 2] };
  });
  const seen = [];
  for (const ranges of [[RANGE / 2], [RANGE, RANGE / 2]]) {
    const { page, words, address, isLive, goodbye } = await arrive(browser, `${url}/#range=1m&to=${to - RANGE}`, {}, { "**/history?*": { items } });
    await isLive();
    await until("the whole view in the address", address, ({ average }) => average);
    for (const range of ranges) {
      // Only the fragment differs, so the page is not loaded again. The page then writes it in another order.
      const fragment = `#range=${range}ms&to=${to}&average=&pairs=BTC-USD`;
      await page.goto(`${url}/${fragment}`);
      await until("the view in the address", () => page.url(), (address) => !address.endsWith(fragment));
      const extremes = range === RANGE ? ["min 100", "max 110"] : ["min 102.5", "max 109.4"];
      await until(`prices of ${range} ms`, words, (found) => extremes.every((extreme) => found.includes(extreme)));
    }
    // The axis is fitted when the data has been loaded, which may be after the first drawing.
    const fitted = () => words().then(numbers);
    if (seen.length) await until("the same axis", fitted, (found) => `${found}` === `${seen[0]}`);
    else seen.push(await fitted());
    await goodbye();
  }
}

/** Two gaps of different causes, one behind the other, are shaded like one. */
async function joins(browser, url) {
  const to = Date.now() - RANGE;
  const at = (slot) => new Date(to - RANGE + slot * STEP).toISOString();
  const gap = (first, last, cause) => ({ from: at(first), to: at(last), interval: `${STEP}ms`, cause });
  const items = [...Array(10).keys(), ...Array.from({ length: 10 }, (_, slot) => slot + 30)].map((slot) => ({ slot: at(slot), price: `${100 + slot}` }));
  const canned = { "**/history?*": { items: items.reverse() }, "**/gaps?*": { items: [gap(20, 29, "too_few_sources"), gap(10, 19, "missed")] } };
  const { plot, isLive, goodbye } = await arrive(browser, `${url}/#range=${RANGE}ms&to=${to}&average=`, {}, canned);
  await isLive();
  // The shade reaches from slot 9 to slot 30, of 40. Grid lines may cross it.
  await until("one shade", () => plot(), ({ gap, right }) => width(gap) > (0.97 * right * 21) / 40);
  await goodbye();
}

export default async function ({ browser, url, behind }) {
  await fits(browser, url);
  await joins(browser, url);
  const now = await arrive(browser, `${url}/#range=${RANGE}ms`);
  await now.isLive();
  for (const [panel, pair] of PAIRS.entries()) {
    await until(`a line of ${pair}`, () => now.plot(panel), ({ line }) => width(line) > 20);
  }

  const newest = async () => Date.parse((await answer(url, "/v1/prices/BTC-USD")).slot);
  const before = await newest();
  await behind("sources fail");
  const missing = async () => (await answer(url, `/v1/prices/BTC-USD/gaps?from=${before}`)).items;
  await until("three slots without a price", missing, (gaps) => gaps.length >= 3);
  assert.match((await until("the reason on the card", () => now.card("BTC-USD"), ({ why }) => why)).why, /^no price: too few sources$/);
  await behind("sources recover");
  const end = await until("a price again", newest, (slot) => slot > before);
  await until("ticks behind the gap", newest, (slot) => slot > end + BEHIND + RANGE / 8);
  assert.equal((await now.card("BTC-USD")).why, "");
  for (const panel of [0, 1]) await until("shade", () => now.plot(panel), ({ gap }) => width(gap) > 3);
  const rows = await until("the gap in its table", () => now.rows("gaps"), (rows) => rows[1]?.length === 4);
  assert.match(rows[1].join(" "), /^(BTC|ETH)-USD 20.* too few sources$/);
  await now.goodbye();

  // A view of the past does not move when new ticks arrive.
  const past = await arrive(browser, `${url}/#range=${RANGE}ms&to=${end + BEHIND}&average=`);
  await past.isLive();
  const from = end + BEHIND - RANGE;
  for (const [panel, pair] of PAIRS.entries()) {
    const history = await answer(url, `/v1/prices/${pair}/history?from=${from}&to=${end + BEHIND + 1}&limit=1000`);
    const ticks = history.items.reverse().map(({ slot, price }) => ({ time: Date.parse(slot), price }));
    /**
     * The ticks for which the chart is wrong between the previous tick and this one. There must be a line or, if slots
     * are missing, the shade of a gap.
     */
    const wrong = ({ right, line, gap }) => {
      const x = (time) => ((time - from) / RANGE) * right;
      return ticks.slice(1).filter(({ time }, index) => {
        const [first, end] = [Math.ceil(x(ticks[index].time) + BLUR), x(time) - BLUR];
        const columns = Array.from({ length: Math.max(0, Math.ceil(end - first)) }, (_, column) => first + column);
        const isGap = time - ticks[index].time > STEP * 1.5;
        const shaded = columns.filter((column) => holds(gap, column)).length;
        // A gap must be shaded and have no line. A tenth of its columns may lack the shade, because grid lines may
        // cross the gap.
        if (isGap) return shaded < 0.9 * columns.length || columns.some((column) => holds(line, column));
        // Without a gap, there must be a line. The dot of a minimum or maximum may cover a part of the line.
        return shaded || !columns.some((column) => holds(line, column));
      });
    };
    const look = async () => {
      const { right, line, gap } = await past.plot(panel);
      return { right, line, gap, wrong: line.length ? wrong({ right, line, gap }) : "nothing is drawn" };
    };
    const seen = await until(`${pair} as it was`, look, ({ wrong }) => !wrong.length);
    assert(width(seen.gap) > 20 && width(seen.line) > 20, `${pair}: ${JSON.stringify(seen)}`);
    const prices = ticks.map(({ price }) => Number(price));
    const words = await past.words();
    for (const [name, extreme] of [["min", Math.min(...prices)], ["max", Math.max(...prices)]]) {
      const { price } = ticks.find(({ price }) => Number(price) === extreme);
      assert(words.includes(`${name} ${grouped(price)}`), `${name} ${price} is not in ${words}`);
    }
  }
  const { right } = await past.plot();
  const pixels = await past.pixels(right);
  for (let ticks = 0; ticks < 3; ticks++) {
    const { price } = await past.card("BTC-USD");
    await until("another tick", () => past.card("BTC-USD"), (card) => card.price !== price);
    await past.page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    assert.equal(await past.pixels(right), pixels, "a tick moved what was already drawn");
  }
  await past.goodbye();
}
