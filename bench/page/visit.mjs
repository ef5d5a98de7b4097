// Visits a page, each time in a new browser without a cache.

import { setTimeout as pause } from "node:timers/promises";

import { DEADLINE_MILLIS, launch } from "../../cli/tests/browser/browser.mjs";
import { newest, rate } from "./feed.mjs";
import { probe, probeDrawing } from "./probe.mjs";

/** A line is complete if it covers at least this share of the canvas's width. The price labels need the rest. */
const LEAST_COVERED = 0.6;
/** The number of redraws after which the browser has compiled the drawing code. */
const WARM_UP = 30;

async function visit({ url, size }, scripts, act) {
  const browser = await launch();
  try {
    const page = await browser.newPage({ viewport: size, locale: "en-GB" });
    page.setDefaultTimeout(DEADLINE_MILLIS);
    const problem = new Promise((_, reject) => page.on("pageerror", (cause) => reject(new Error(`${url} fails`, { cause }))));
    problem.catch(() => {});
    for (const [script, argument] of scripts) await page.addInitScript(script, argument);
    const devtools = await page.context().newCDPSession(page);
    for (const domain of ["Network", "Performance"]) await devtools.send(`${domain}.enable`);
    let bytes = 0;
    devtools.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
    await page.goto(url);
    return await Promise.race([act({ page, devtools, browser, bytes: () => bytes }), problem]);
  } finally {
    await browser.close();
  }
}

// Polls at intervals, because polling once per frame would add a frame callback to the page that is measured.
const until = (page, test, argument) => page.waitForFunction(test, argument, { polling: 100 });

/** The size of the page's chart, the colours of its lines, and the version of the browser. */
export const look = (side) =>
  visit(side, [], async ({ page, browser }) => {
    await until(page, () => document.querySelector(".fresh"));
    const chart = await page.evaluate(() => {
      const canvas = document.querySelector("canvas");
      const colours = [0, 1].map((index) => getComputedStyle(canvas).getPropertyValue(`--line-${index}`));
      return { width: canvas.clientWidth, height: canvas.clientHeight, colours };
    });
    return { ...chart, browser: browser.version() };
  });

/** Measures how long it takes until the lines are drawn, and how many bytes are transferred until then. */
export const open = (side) =>
  visit(side, [[probe], [probeDrawing, { colours: side.colours, least: LEAST_COVERED }]], async ({ page, bytes }) => {
    const times = await until(page, () => {
      const [paint] = performance.getEntriesByName("first-contentful-paint");
      return paint && window.probed.drawn && { paint: paint.startTime, drawn: window.probed.drawn };
    });
    return { ...(await times.jsonValue()), bytes: bytes() };
  });

/** Measures this many redraws while ticks arrive. */
export const follow = (side, redraws) =>
  visit(side, [[probe]], async ({ page, devtools, browser }) => {
    const whole = await browser.newBrowserCDPSession();
    const metric = async (wanted) => (await devtools.send("Performance.getMetrics")).metrics.find(({ name }) => name === wanted).value;
    const meter = async () => ({
      thread: (await metric("TaskDuration")) * 1_000,
      // The CPU time of all of the browser's processes, because some of the pixels are not rendered in the page's process.
      browser: (await whole.send("SystemInfo.getProcessInfo")).processInfo.reduce((sum, { cpuTime }) => sum + cpuTime, 0) * 1_000,
      slot: await newest(side.pod),
      time: performance.now(),
    });
    await until(page, (count) => window.probed.redraws.length >= count, WARM_UP);
    const before = await meter();
    await page.evaluate(() => window.probed.begin());
    await until(page, (count) => window.probed.redraws.length >= count, redraws);
    const probed = await page.evaluate(({ probed: { redraws, frames, longTasks } } = window) => ({ redraws, frames, longTasks }));
    const after = await meter();
    await devtools.send("HeapProfiler.collectGarbage");
    const heap = await metric("JSHeapUsedSize");
    // Read the canvases only after the measurement, because a canvas whose pixels have been read is drawn more slowly.
    const image = () => page.evaluate(() => [...document.querySelectorAll("canvas")].map((canvas) => canvas.toDataURL()).join());
    const covered = await page.evaluate((colours) => window.probed.covered(colours), side.colours);
    const first = await image();
    await pause(1_000);
    if (covered.some((share) => share < LEAST_COVERED)) throw new Error(`the lines of ${side.url} cover only these shares of the width: ${covered}`);
    if (first === (await image())) throw new Error(`${side.url} does not redraw`);
    const count = probed.redraws.length;
    const elapsed = after.time - before.time;
    return {
      ...probed,
      covered,
      heap,
      thread: (after.thread - before.thread) / count,
      browser: (after.browser - before.browser) / count,
      redrawRate: count / (elapsed / 1_000),
      tickRate: rate(before.slot, after.slot, elapsed),
    };
  });
