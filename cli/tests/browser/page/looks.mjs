// In narrow and wide windows, in light and dark mode, nothing is cut off and everything is accessible. A browser without scripts
// shows the prices too.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { axe, visit } from "../browser.mjs";
import { PAIRS, answer, arrive, until } from "./sight.mjs";

const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

export default async function ({ browser, url }) {
  const grounds = new Set();
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [360, 1440]) {
      const options = { colorScheme, viewport: { width, height: 800 }, reducedMotion: "reduce" };
      const { page, rows, isLive, plot, goodbye } = await arrive(browser, `${url}/#range=20s`, options);
      await isLive();
      await until("a line", () => plot(), ({ line }) => line.length);
      await until("the tables", () => rows("averages"), (found) => found.length > 1);
      const { scrollWidth, clientWidth, outside, ground } = await page.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement;
        const parts = [...document.querySelectorAll("header *, .card, .card *, #controls label, #chart, h2")];
        const isOutside = (part) => {
          const { left, right, height } = part.getBoundingClientRect();
          return height > 0 && (left < 0 || right > clientWidth);
        };
        const outside = parts.filter(isOutside).map((part) => part.outerHTML);
        return { scrollWidth, clientWidth, outside, ground: getComputedStyle(document.body).backgroundColor };
      });
      assert(scrollWidth <= clientWidth, `${scrollWidth} > ${clientWidth} in ${colorScheme}`);
      assert.deepEqual(outside, []);
      const cut = () => page.evaluate(() => [...document.querySelectorAll(".scroll")].filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth).map(({ firstElementChild }) => firstElementChild.id));
      assert.deepEqual(await cut(), [], `tables are cut at ${width}`);
      await page.getByRole("checkbox", { name: "Table" }).check();
      await until("the table of points", () => rows("points"), (found) => found.length > 3);
      assert.deepEqual(await cut(), [], `tables are cut at ${width}`);
      await page.getByRole("checkbox", { name: "Table" }).uncheck();
      await until("a line", () => plot(), ({ line }) => line.length);
      for (const part of ["h1", "#state", "#chart", "#quotes", "#sources", "#averages", "#gaps"]) {
        assert(await page.locator(part).isVisible(), `${part} at ${width}`);
      }
      assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
      grounds.add(ground);
      await page.evaluate(readFileSync(axe(), "utf8"));
      const { violations, passes } = await page.evaluate((values) => window.axe.run({ runOnly: { type: "tag", values } }), RULES);
      assert(passes.some(({ id }) => id === "color-contrast"));
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).slice(0, 3).join("; ")}`);
      assert.deepEqual(found, [], `${width} ${colorScheme}`);
      await goodbye();
    }
  }
  assert.equal(grounds.size, 2, "light and dark mode have the same background");

  const { page, problems, leave } = await visit(browser, url, { javaScriptEnabled: false });
  const plain = await page.locator("body").innerText();
  const history = await Promise.all(PAIRS.map((pair) => answer(url, `/v1/prices/${pair}/history?limit=100`)));
  for (const [index, pair] of PAIRS.entries()) {
    assert(plain.includes(pair), plain);
    assert(history[index].items.some(({ slot, price }) => plain.includes(price) && plain.includes(slot)), `${pair}: ${plain}`);
  }
  assert.deepEqual(problems, []);
  await leave();
}
