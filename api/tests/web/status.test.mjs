// Tests what the page says if there is no price.

import assert from "node:assert/strict";
import { test } from "node:test";

import { emptyOf, failures, findFailures, progressOf } from "../../web/status.js";

const MINUTE = 60_000;
const NOON = Date.UTC(2026, 10, 29, 12);
const view = { from: NOON - 60 * MINUTE, to: NOON };

const source = (source, last_verdict, verdicts) => ({ source, last_verdict, verdicts });

test("sources that fail for the same reason are named together, and those that work are not named", () => {
  findFailures([
    source("kraken", "dns", { dns: 3, used: 9 }),
    source("coinbase", "dns", { dns: 1 }),
    source("gemini", "http_451", { http_451: 4 }),
    source("bitstamp", "used", { used: 5, timeout: 2 }),
  ]);
  assert.equal(failures(), "Kraken and Coinbase cannot be reached (no DNS); Gemini did not help (http 451)");
});

test("the reason of a source that is not asked for a while is its most frequent failure before", () => {
  findFailures([source("kraken", "backing_off", { backing_off: 50, timeout: 2, unreachable: 7, used: 60 })]);
  assert.equal(failures(), "Kraken cannot be reached (no connection)");
  findFailures([source("kraken", "used", { used: 60 })]);
  assert.equal(failures(), "");
});

test("a part of the view without records says why", () => {
  const pair = { since: NOON - 20 * MINUTE, newest: NOON, interval: 10_000, gaps: [] };
  const before = { from: view.from, to: pair.since, cause: "no prices before 29 Nov 11:40" };
  assert.deepEqual(emptyOf(pair, view), [before]);
  // A gap before the first price is shaded, and has a reason of its own.
  const begin = NOON - 30 * MINUTE;
  assert.deepEqual(emptyOf({ ...pair, gaps: [{ from: begin, to: pair.since }] }, view), [{ ...before, to: begin }]);
  assert.deepEqual(emptyOf({ ...pair, since: view.from }, view), []);
  assert.deepEqual(emptyOf({ ...pair, since: undefined }, view), [], "it is not known yet");
  assert.deepEqual(emptyOf({ ...pair, since: Infinity }, view), [{ ...view, cause: "no records" }]);
  const newest = NOON - 5 * MINUTE;
  const stopped = { ...pair, since: view.from, newest };
  assert.deepEqual(emptyOf(stopped, view), [{ from: newest, to: NOON, cause: "no records since 29 Nov 11:55" }]);
  assert.deepEqual(emptyOf({ ...stopped, progress: "75 %" }, view), [{ from: newest, to: NOON, cause: "not filled in yet" }]);
});

test("the progress is shown until there is a price or nothing moves any more", () => {
  const pair = { since: NOON - 40 * MINUTE, newest: NOON - 10 * MINUTE, moved: performance.now() };
  assert.equal(progressOf(pair, NOON), "Filling in the past: 75 %, up to 29 Nov 11:50 UTC.");
  assert.equal(progressOf({ ...pair, tick: {} }, NOON), undefined);
  assert.equal(progressOf({ ...pair, moved: performance.now() - 6_000 }, NOON), undefined);
  assert.equal(progressOf({ ...pair, moved: undefined }, NOON), undefined);
});
