// Reads what is visible on the page: words, states, and the pixels of the chart.

import assert from "node:assert/strict";

import { DEADLINE_MILLIS, visit } from "../browser.mjs";

export const PAIRS = ["BTC-USD", "ETH-USD"];

/** Calls `look` repeatedly until `wanted` accepts the result, and returns the result. */
export async function until(what, look, wanted = Boolean) {
  const deadline = Date.now() + DEADLINE_MILLIS;
  for (;;) {
    const seen = await look();
    if (wanted(seen)) return seen;
    if (Date.now() > deadline) throw new Error(`timed out waiting for: ${what}; last seen: ${JSON.stringify(seen)?.slice(0, 2_000)}`);
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
}

/**
 * The total number of pixel columns in some stretches. A stretch `[from, to]` consists of adjacent columns, from `from` up
 * to but not including `to`.
 */
export const width = (stretches) => stretches.reduce((sum, [from, to]) => sum + to - from, 0);

/** Whether a column of pixels is in one of the stretches. */
export const holds = (stretches, column) => stretches.some(([from, to]) => from <= column && column < to);

/** Sends a GET request to a pod whose page is at `url`, and returns the JSON of the response. */
export const answer = async (url, path, headers = {}) => (await fetch(new URL(path.replace(/^\//, ""), url), { headers })).json();

/** A price with separators between thousands, formatted independently of the page. */
export const grouped = (decimal) =>
  new Intl.NumberFormat("en-US", { minimumFractionDigits: decimal.split(".")[1]?.length ?? 0 }).format(decimal);

/** The difference between two prices with its sign, computed with integers. */
export function difference(earlier, later) {
  const digits = Math.max(...[earlier, later].map((decimal) => decimal.split(".")[1]?.length ?? 0));
  const units = (decimal) => BigInt(decimal.replace(".", "") + "0".repeat(digits - (decimal.split(".")[1]?.length ?? 0)));
  const moved = units(later) - units(earlier);
  const text = `${moved < 0n ? -moved : moved}`.padStart(digits + 1, "0");
  const sign = moved < 0n ? "−" : moved > 0n ? "+" : "";
  return sign + grouped(digits ? `${text.slice(0, -digits)}.${text.slice(-digits)}` : text);
}

/** Runs before the page's scripts. Records the text of the last drawing, and every connection state that was shown. */
function watch() {
  const { getContext } = HTMLCanvasElement.prototype;
  const { fillText } = CanvasRenderingContext2D.prototype;
  window.drawn = [];
  window.states = [];
  HTMLCanvasElement.prototype.getContext = function (...how) {
    // The page passes one argument, when it begins to draw. Tests pass a second argument, because they only read pixels.
    if (how.length === 1) window.drawn = [];
    return getContext.apply(this, how);
  };
  CanvasRenderingContext2D.prototype.fillText = function (words, ...place) {
    window.drawn.push(words);
    return fillText.call(this, words, ...place);
  };
  addEventListener("DOMContentLoaded", () => {
    const state = document.getElementById("state");
    new MutationObserver(() => window.states.push(state.textContent)).observe(state, { childList: true });
  });
}

/** Opens the page. Returns functions that read what can be seen on it. */
export async function arrive(browser, url, options, canned, ...prepare) {
  const { page, problems, leave } = await visit(browser, url, options, [watch, ...prepare], canned);
  const text = (selector) => page.locator(selector).innerText();

  const card = (pair) =>
    page.evaluate((pair) => {
      const found = [...document.querySelectorAll(".card")].find((card) => card.querySelector(".pair").textContent === pair);
      if (!found) return {};
      const [, fresh, price, step, moves, why] = [...found.children].map((part) => part.textContent);
      const arrow = getComputedStyle(found.children[3], "::before");
      const direction = ["up", "down"].find((name) => found.children[3].classList.contains(name));
      const isDrawn = arrow.content !== "none" && arrow.clipPath.startsWith("polygon") && parseFloat(arrow.width) > 0;
      return { fresh, price, step, moves, why, direction, arrow: isDrawn ? arrow.clipPath : "", isShown: found.ariaPressed === "true" };
    }, pair);

  /** What a panel of the chart shows: the stretches of pixel columns with a line, an average, candles or a gap's shade. */
  const plot = (panel = 0, panels = 2) =>
    page.evaluate(([panel, panels]) => {
      const canvas = document.getElementById("chart");
      const pen = canvas.getContext("2d", {});
      const style = getComputedStyle(canvas);
      const { width, height } = canvas;
      const ratio = width / canvas.clientWidth;
      // Read only the part of the panel that is below the text at the top and above the times at the bottom.
      const tall = (height / ratio - 24) / panels;
      const [top, bottom] = [(panel * tall + 36) * ratio, (panel * tall + tall - 12) * ratio].map(Math.floor);
      const { data } = pen.getImageData(0, top, width, bottom - top);
      const colour = (name) => style.getPropertyValue(`--${name}`).match(/[0-9a-f]{2}/g).map((part) => parseInt(part, 16));
      const counts = (wanted, low, high) =>
        Array.from({ length: width }, (_, x) => {
          let count = 0;
          for (let y = 0; y < bottom - top; y++) {
            const at = 4 * (y * width + x);
            const isClose = wanted.slice(0, 3).every((part, index) => Math.abs(part - data[at + index]) < 14);
            count += isClose && data[at + 3] >= low && data[at + 3] <= high;
          }
          return count;
        });
      const grid = counts(colour("grid"), 30, 60);
      const right = grid.findLastIndex((count) => count > 0);
      const stretches = (what, isIt = (count) => count > 0) => {
        const found = [];
        for (const [x, count] of counts(...what).slice(0, right + 1).entries()) {
          if (!isIt(count)) continue;
          if (found.at(-1)?.[1] === x) found.at(-1)[1] = x + 1;
          else found.push([x, x + 1]);
        }
        return found;
      };
      const hue = colour(`line-${panel}`);
      return {
        right: (right + 1) / ratio,
        line: stretches([hue, 150, 255]),
        average: stretches([hue, 90, 149]),
        gap: stretches([colour("gap"), 30, 60], (count) => count > (bottom - top) / 2),
        candles: stretches([colour("up"), 150, 255]).concat(stretches([colour("down"), 150, 255])),
      };
    }, [panel, panels]);

  /** A hash of all pixels to the left of the price labels, for comparison. */
  const pixels = (right) =>
    page.evaluate(([right]) => {
      const canvas = document.getElementById("chart");
      const { data } = canvas.getContext("2d", {}).getImageData(0, 0, Math.floor(right), canvas.height);
      let hash = 0;
      for (const byte of data) hash = (Math.imul(hash, 31) + byte) | 0;
      return hash;
    }, [right]);

  /** The texts of the chart's last drawing. */
  const words = () => page.evaluate(() => [...window.drawn]);
  const address = () => Object.fromEntries(new URLSearchParams(new URL(page.url()).hash.slice(1)));

  /** The rows of a table, each as the texts of its cells. */
  const rows = (id) =>
    page.evaluate((id) => [...document.getElementById(id).rows].map((row) => [...row.cells].map((cell) => cell.innerText)), id);

  /** The rows of the table that replaces the chart, by pair, oldest first. */
  const points = async () => {
    const found = {};
    let pair;
    for (const cells of (await rows("points")).slice(1)) {
      if (cells.length === 1) found[(pair = cells[0])] = [];
      else found[pair].unshift(cells);
    }
    return found;
  };

  const isLive = () =>
    until("live, with prices", async () => [await text("#state"), ...(await Promise.all(PAIRS.map(card)))], ([state, ...cards]) =>
      state === "live" && cards.every(({ price }) => /\d/.test(price)));

  /** Checks that the page had no problems except those that are allowed, and closes it. */
  const goodbye = async (allowed = /^$/) => {
    assert.deepEqual(problems.filter((problem) => !allowed.test(problem)), []);
    await leave();
  };
  return { page, problems, text, card, plot, pixels, words, address, rows, points, isLive, goodbye };
}
