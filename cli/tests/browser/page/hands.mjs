// The view can be changed with keyboard, mouse and touch. The URL contains the view, so it survives a reload.

import assert from "node:assert/strict";

import { PAIRS, answer, arrive, grouped, until, width } from "./sight.mjs";

/** What the Tab key focuses after the links, in this order, up to the chart. */
const STOPS = ["BTC-USD", "ETH-USD", "range", "average", "candles", "table", "local", "chart"];

export default async function ({ browser, url }) {
  const { page, words, plot, address, isLive, text, points, goodbye } = await arrive(browser, `${url}/#range=10m`, { hasTouch: true });
  const { keyboard, mouse } = page;
  await isLive();
  await until("a line", () => plot(), ({ line }) => width(line) > 4);
  const range = () => Number.parseInt(address().range, 10);
  const becomes = (what, wanted) => until(`${what}, from ${JSON.stringify(address())}`, address, (now) => wanted(Number.parseInt(now.range, 10), now));

  const links = await page.locator("nav a").allInnerTexts();
  assert(links.length > 2);
  const stops = [];
  while (stops.at(-1) !== "chart" && stops.length < 2 * (links.length + STOPS.length)) {
    await keyboard.press("Tab");
    stops.push(await page.evaluate(() => {
      const { id, name, firstElementChild, textContent } = document.activeElement;
      return id || name || (firstElementChild ?? { textContent }).textContent;
    }));
  }
  assert.deepEqual(stops, [...links, ...STOPS]);

  await page.getByRole("radio", { name: "10 min" }).focus();
  await keyboard.press("ArrowRight");
  await becomes("the next range", (range) => range === 3_600_000);
  await keyboard.press("ArrowLeft");
  await becomes("the range before", (range) => range === 600_000);
  assert(await page.getByRole("radio", { name: "10 min" }).isChecked());

  const chart = page.locator("#chart");
  await chart.focus();
  for (let times = 0; times < 8; times++) await keyboard.press("+");
  await becomes("closer", (range) => range === Math.round(600_000 * 0.7 ** 8));
  await keyboard.press("-");
  const closer = (await becomes("a bit wider", (range) => range === Math.round(600_000 * 0.7 ** 8 * 1.4))).range;
  assert.equal(await page.locator("#ranges :checked").count(), 0);

  // The crosshair snaps to ticks and shows their values.
  const pointed = async () => {
    const drawn = await words();
    return { time: drawn.at(-1), price: drawn[drawn.indexOf("BTC-USD") + 1] };
  };
  const isTime = ({ time }) => /^\d\d:\d\d:\d\d$/.test(time);
  await until("ticks to point at", () => plot(), ({ line }) => width(line) > 20);
  await keyboard.press("ArrowLeft");
  const last = await until("a crosshair", pointed, isTime);
  for (let times = 0; times < 3; times++) await keyboard.press("ArrowLeft");
  const before = await until("it going back", pointed, (now) => isTime(now) && now.time < last.time);
  const ticks = (await answer(url, "/v1/prices/BTC-USD/history?limit=100")).items;
  const found = ticks.filter(({ slot }) => slot.slice(11, 19) === before.time).map(({ price }) => grouped(price));
  assert(found.includes(before.price), `${before.time} ${before.price}: ${found}`);

  await keyboard.press("Shift+ArrowLeft");
  const { to } = await becomes("the past", (_, { to }) => to);
  await keyboard.press("Shift+ArrowLeft");
  await becomes("further back", (_, now) => Number(now.to) < Number(to));
  assert.equal(address().range, closer);
  const sent = new Set();
  page.on("request", (request) => sent.add(request.headers()["x-api-key"]));
  await page.reload();
  await isLive();
  assert.deepEqual([...sent], [undefined], "a key was sent although none was entered");
  assert.equal(address().range, closer);
  assert(Number(address().to) < Number(to));
  await chart.focus();
  await keyboard.press("Escape");
  await becomes("now again", (_, { to }) => !to);
  await until("no crosshair", pointed, (now) => !isTime(now));

  const box = await chart.boundingBox();
  const middle = [box.x + box.width / 2, box.y + box.height / 2];
  await mouse.move(...middle);
  const wide = range();
  await mouse.wheel(0, -200);
  await becomes("closer by the wheel", (now) => now < wide);
  await mouse.wheel(0, 400);
  await becomes("wider by the wheel", (now) => now > wide);
  const late = Number(address().to ?? Infinity);
  await mouse.wheel(-200, 0);
  let { to: held } = await becomes("the past, by the wheel", (_, { to }) => Number(to) < late);
  const dragged = async (pixels) => {
    await mouse.move(...middle);
    await mouse.down();
    await mouse.move(middle[0] + pixels / 2, middle[1]);
    await mouse.move(middle[0] + pixels, middle[1]);
    await mouse.up();
    const before = held;
    held = (await becomes("the past, dragged there", (_, { to }) => Number(to) < Number(before))).to;
    // A slow machine may still be drawing the second half of the move.
    await until("the end of the move", async () => {
      const last = held;
      await page.evaluate(async () => {
        for (let frame = 0; frame < 30; frame++) await new Promise(requestAnimationFrame);
      });
      held = address().to;
      return held === last;
    }, (isStill) => isStill);
    return before - held;
  };
  const [near, far] = [await dragged(50), await dragged(100)];
  assert(Math.abs(far - 2 * near) < far / 50, `50 pixels are ${near}, and 100 are ${far}`);
  await keyboard.press("Escape");
  await becomes("now again", (_, { to }) => !to);

  const session = await page.context().newCDPSession(page);
  const touch = (type, ...places) =>
    session.send("Input.dispatchTouchEvent", { type, touchPoints: places.map((x, id) => ({ x: middle[0] + x, y: middle[1], id })) });
  const apart = range();
  await touch("touchStart", -50);
  await touch("touchStart", -50, 50);
  for (const half of [75, 100, 150]) await touch("touchMove", -half, half);
  await touch("touchEnd");
  await becomes("closer by two fingers", (now) => now < apart / 1.5);

  await page.getByText("10 min", { exact: true }).first().click();
  await page.getByRole("checkbox", { name: "Candles" }).focus();
  await keyboard.press("Space");
  await becomes("candles in the address", (_, { candles }) => candles);
  await until("which candles", () => text("#drawn"), (words) => words.startsWith("Drawn: 1m candles"));
  await until("candles", () => plot(), ({ candles, line }) => width(candles) > 0 && !line.length);
  // The crosshair and the table show when a candle begins.
  await chart.focus();
  await keyboard.press("ArrowLeft");
  await until("the crosshair at the start of a candle", pointed, ({ time }) => /^\d\d:\d\d:00$/.test(time));
  await keyboard.press("Escape");
  await page.getByRole("checkbox", { name: "Candles" }).focus();
  await keyboard.press("Tab");
  await keyboard.press("Space");
  await until("the table", () => page.locator("#points").isVisible());
  assert.equal(await chart.isVisible(), false);
  await becomes("the table in the address", (_, { table }) => table);
  await page.reload();
  await isLive();
  assert(await page.locator("#points").isVisible());
  assert(await page.getByRole("checkbox", { name: "Candles" }).isChecked());
  for (const pair of PAIRS) {
    // The first rows may be ticks, which arrive while the candles are being loaded.
    const areCandles = (rows) => rows?.length && rows.every(([time]) => time.endsWith(":00"));
    const rows = (await until(`candles of ${pair}`, points, (seen) => areCandles(seen[pair])))[pair];
    const candles = (await answer(url, `/v1/prices/${pair}/candles?interval=1m&limit=1000`)).items;
    const starts = candles.map(({ start }) => start.slice(0, 19).replace("T", " "));
    for (const [time] of rows) assert(starts.includes(time), `${time} is not in ${starts}`);
  }

  // A click on a pair's card hides the pair in the chart. Another click shows the pair again.
  const card = page.getByRole("button", { name: "ETH-USD" });
  await page.getByRole("checkbox", { name: "Table" }).uncheck();
  await until("both pairs", words, (drawn) => drawn.includes("ETH-USD"));
  await card.click();
  await until("one pair", words, (drawn) => drawn.includes("BTC-USD") && !drawn.includes("ETH-USD"));
  assert.equal(await card.getAttribute("aria-pressed"), "false");
  await becomes("one pair in the address", (_, { pairs }) => pairs === "BTC-USD");
  await card.click();
  await until("both pairs", words, (drawn) => drawn.includes("ETH-USD"));
  await goodbye();
}
