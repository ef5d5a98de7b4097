// Tests scales, marks and views, and compares them with naive computations.

import assert from "node:assert/strict";
import { test } from "node:test";

import { always, feed } from "./random.mjs";
import {
  MAX_TICKS, moved, nearest, priceMarks, priceRange, resolution, search, timeMarks, within, zoomed,
} from "../../web/scale.js";
import { DAY, milliseconds } from "../../web/text.js";

const { abs, floor, max, min } = Math;

const [SECOND, MINUTE, HOUR] = [1_000, 60_000, 3_600_000];
const YEAR = 366 * DAY;
/** The candle lengths of the API. */
const CANDLES = ["1m", "5m", "15m", "1h", "4h", "1d"];
const INTERVALS = ["100ms", "1s", "2s", "7s", "10s", "30s", "1m", "5m", "1h", "12h", "1d"].map(milliseconds);

const labels = (marks) => marks.map(({ label }) => label);
const apart = (items) => items.slice(1).map((item, index) => item - items[index]);

test("a view uses the finest resolution that fits", async () => {
  assert.deepEqual(resolution(DAY, 10 * SECOND, 0, DAY / 8), { step: 10 * SECOND });
  assert.deepEqual(resolution(DAY, 10 * SECOND, 0, DAY), { candles: "1m", step: MINUTE });
  assert.deepEqual(resolution(7 * DAY, 10 * SECOND, 0, DAY), { candles: "5m", step: 5 * MINUTE });
  assert.deepEqual(resolution(365 * DAY, 10 * SECOND, 0, 0), { candles: "4h", step: 4 * HOUR });
  assert.deepEqual(resolution(365 * DAY, HOUR, 0, 0), { step: HOUR });
  assert.deepEqual(resolution(DAY, 10 * SECOND, 100, 0), { candles: "15m", step: 15 * MINUTE });
  await always((random) => {
    const interval = random.pick(INTERVALS);
    const length = random.magnitude(MINUTE, YEAR);
    const room = random.pick([undefined, random.between(10, 400)]);
    const lead = length * random.pick([0, 1 / 8, 1, 30]);
    const { candles, step } = resolution(length, interval, room, lead);
    const context = `${length} at ${interval} with room for ${room}: ${candles}, ${step}`;

    const fits = (length + lead) / interval < MAX_TICKS;
    assert.equal(candles === undefined, !room && fits, context);
    if (!candles) return assert.equal(step, interval, context);

    const most = room ?? MAX_TICKS / 4;
    assert.equal(step, milliseconds(candles), context);
    assert.ok(step >= interval, context);
    // There is no coarser candle than one day.
    assert.ok(length / step <= most || candles === "1d", context);
    for (const finer of CANDLES.slice(0, CANDLES.indexOf(candles)).map(milliseconds)) {
      assert.ok(finer < interval || length / finer > most, `${context}, but not ${finer}`);
    }
    assert.ok(resolution(length * random.between(1, 3), interval, room, lead).step >= step, context);
  });
});

test("price marks are round, evenly spaced, within the range, and labelled with their price", async () => {
  assert.deepEqual(labels(priceMarks(9.985, 10.015, 4)), ["9.99", "10.00", "10.01"]);
  assert.deepEqual(labels(priceMarks(96_800, 97_300, 5)), ["96,800", "96,900", "97,000", "97,100", "97,200", "97,300"]);
  assert.deepEqual(labels(priceMarks(0.00001229, 0.00001261, 4)), ["0.0000123", "0.0000124", "0.0000125", "0.0000126"]);
  assert.deepEqual(labels(priceMarks(0.9989, 1.0011, 3)), ["0.999", "1.000", "1.001"]);
  // There is room for less than one mark.
  assert.deepEqual(labels(priceMarks(0.9, 2.1, 0.3)), ["2"]);
  await always((random) => {
    const low = random.magnitude(1e-8, 1e9);
    const high = low * (1 + random.magnitude(3e-6, 7));
    const count = random.between(0.5, 15);
    const marks = priceMarks(low, high, count);
    const context = `${low} to ${high}, ${count}: ${labels(marks).join(" ")}`;
    assert.ok(marks.length <= max(1, count) + 1 && marks.length >= floor(count / 2.5), context);
    if (marks.length < 2) return;

    const prices = marks.map(({ price }) => price);
    const step = prices[1] - prices[0];
    const slack = step * 1e-6;
    assert.ok(prices[0] >= low - slack && prices.at(-1) <= high + slack, context);
    assert.ok(prices[0] - step < low + slack && prices.at(-1) + step > high - slack, `one is missing: ${context}`);
    assert.ok(apart(prices).every((distance) => abs(distance - step) < slack), context);
    assert.match(step.toExponential(3), /^(1|2|5)\.000e|^(0|1|4)\.999e/, context);

    assert.equal(new Set(labels(marks)).size, marks.length, context);
    for (const { price, label } of marks) {
      assert.match(label, /^\d{1,3}(,\d{3})*(\.\d+)?$/, context);
      assert.ok(abs(Number(label.replaceAll(",", "")) - price) < slack, context);
    }
    const decimals = labels(marks).map((label) => label.split(".")[1] ?? "");
    assert.equal(new Set(decimals.map(({ length }) => length)).size, 1, context);
    assert.ok(decimals[0] === "" || decimals.some((text) => !text.endsWith("0")), `unnecessary digits: ${context}`);
  });
});

test("no price mark is below zero", () => {
  const { low, high } = priceRange(undefined, 1, 100);
  assert.deepEqual(labels(priceMarks(low, high, 6)), ["0", "50", "100"]);
  for (const { price, label } of priceMarks(-5_000, 20_000, 10)) assert.ok(price >= 0 && !label.startsWith("-"), label);
});

test("time marks at the turn of a day, a month and a year", () => {
  const marks = (from, to, count) => labels(timeMarks(Date.parse(from), Date.parse(to), count)).join(" | ");
  const cases = [
    ["2026-11-21T14:05:03Z", "2026-11-21T14:06:03Z", 4, "14:05:15 | 14:05:30 | 14:05:45 | 14:06:00"],
    ["2026-11-21T14:05:30Z", "2026-11-21T14:15:30Z", 5, "14:06 | 14:08 | 14:10 | 14:12 | 14:14"],
    ["2026-11-21T23:59:50Z", "2026-11-22T00:00:10Z", 4, "23:59:50 | 23:59:55 | 22 Nov | 00:00:05 | 00:00:10"],
    ["2026-11-21T18:00:00Z", "2026-11-22T06:00:00Z", 4, "18:00 | 21:00 | 22 Nov | 03:00 | 06:00"],
    ["2026-11-30T12:00:00Z", "2026-12-01T12:00:00Z", 4, "12:00 | 18:00 | 1 Dec | 06:00 | 12:00"],
    ["2024-02-27T00:00:00Z", "2024-03-02T00:00:00Z", 4, "27 Feb | 28 Feb | 29 Feb | 1 Mar | 2 Mar"],
    ["2023-02-27T00:00:00Z", "2023-03-02T00:00:00Z", 3, "27 Feb | 28 Feb | 1 Mar | 2 Mar"],
    ["2025-12-31T12:00:00Z", "2026-01-01T12:00:00Z", 2, "12:00 | 1 Jan | 12:00"],
  ];
  for (const [from, to, count, expected] of cases) assert.equal(marks(from, to, count), expected, `${from} to ${to}`);
});

test("time marks are round, evenly spaced, within the range, and labelled with their time", async () => {
  await always((random) => {
    const length = random.chance(0.1) ? YEAR : random.magnitude(MINUTE, YEAR);
    const from = random.between(Date.UTC(2019), Date.UTC(2031));
    // A narrow phone has room for two marks.
    const count = random.magnitude(2, 25);
    const marks = timeMarks(from, from + length, count);
    const context = `${new Date(from).toISOString()}, ${length / DAY} days, ${count}: ${labels(marks).join(" | ")}`;
    assert.ok(marks.length <= count + 1, context);
    assert.ok(marks.length >= floor(count / 4), context);

    const times = marks.map(({ time }) => time);
    assert.ok(times.every((time) => time >= from && time <= from + length), context);
    const step = times[1] - times[0];
    assert.ok(apart(times).every((distance) => distance === step && distance > 0), context);
    assert.ok(times.every((time) => time % min(step || SECOND, DAY) === 0), context);
    if (step) assert.ok(times[0] - step < from && times.at(-1) + step > from + length, `one is missing: ${context}`);

    for (const [index, { time, label }] of marks.entries()) {
      assert.notEqual(label, labels(marks)[index + 1], context);
      const day = label.replace("Sept", "Sep");
      const [said, truth] = [(form) => new Date(time).toUTCString().includes(form), new Date(time).toISOString()];
      if (time % DAY === 0) assert.ok(said(`, ${day.padStart(6, "0")} `), context);
      else assert.equal(truth.slice(11, 11 + label.length), label, context);
      // Seconds are shown if there are any.
      assert.ok(time % DAY === 0 || label.length === 8 || time % MINUTE === 0, context);
    }
  });
});

test("search finds the same point as a linear scan", async () => {
  assert.equal(search([], 5), 0);
  assert.equal(nearest([], 5), undefined);
  assert.deepEqual(within([], { from: 0, to: 9 }, 1), []);
  await always((random) => {
    const points = feed(random, random.whole(1, 60), 10);
    const [first, last] = [points[0].time, points.at(-1).time];
    const place = () => (random.chance(0.3) ? random.pick(points).time : random.whole(first - 50, last + 50));
    const time = place();

    assert.equal(search(points, time), points.filter((point) => point.time < time).length);

    const distance = (point) => abs(point.time - time);
    assert.equal(distance(nearest(points, time)), min(...points.map(distance)));

    const [from, to] = [time, place()].sort((a, b) => a - b);
    const inside = points.filter((point) => point.time >= from && point.time <= to);
    assert.deepEqual(within(points, { from, to }), inside);
    const beyond = random.whole(1, 3);
    const before = points.filter((point) => point.time < from).slice(-beyond);
    const behind = points.filter((point) => point.time > to).slice(0, beyond);
    assert.deepEqual(within(points, { from, to }, beyond), [...before, ...inside, ...behind]);
  });
});

test("the price range contains every point, and stays while it does", async () => {
  await always((random) => {
    const low = random.magnitude(1e-8, 1e6);
    const high = low * (1 + random.pick([0, random.magnitude(1e-8, 1)]));
    const spread = max(high - low, high * 1e-5);
    const range = priceRange(undefined, low, high);
    const holds = ({ low: bottom, high: top }, context) => assert.ok(bottom < low && top > high, context);
    holds(range, `${low} to ${high}`);

    assert.equal(priceRange(range, low, high), range, `${low} to ${high} does not stay`);
    const [lower, higher] = [low - spread * random.between(0, 0.05), high + spread * random.between(0, 0.05)];
    assert.equal(priceRange(range, lower, higher), range, `${low} to ${high} changes for ${lower} to ${higher}`);

    // The range changes if it is far too large, does not contain the prices, or if a price is too close to its edge.
    const others = [
      { low: low - spread * random.between(1, 9), high: high + spread * random.between(1, 9) },
      { low: high + spread, high: high + spread * 2 },
      { low: low - spread * 0.01, high: high + spread * 0.2 },
      { low: low - spread * 0.2, high: high + spread * 0.01 },
    ];
    for (const other of others) {
      const next = priceRange(other, low, high);
      assert.deepEqual(next, range, `${JSON.stringify(other)} stays for ${low} to ${high}`);
      assert.ok(next.high - next.low < spread * 1.5);
    }
  });
});

test("a random walk stays within the range, and the range changes rarely", async () => {
  await always((random) => {
    const prices = feed(random, 400, SECOND).map(({ close }) => close);
    let [range, changes] = [undefined, 0];
    for (let index = 100; index < prices.length; index++) {
      const seen = prices.slice(index - 100, index);
      const next = priceRange(range, min(...seen), max(...seen));
      assert.ok(next.low < min(...seen) && next.high > max(...seen));
      if (next !== range) changes++;
      range = next;
    }
    assert.ok(changes < 100, `it changes ${changes} times`);
  }, 50);
});

test("a view moves as far as requested, but never beyond the newest time", async () => {
  await always((random) => {
    const newest = Date.UTC(2026, 10, 21);
    const length = random.magnitude(MINUTE, YEAR);
    const to = newest - random.pick([0, random.between(0, YEAR), -random.between(0, HOUR)]);
    const by = random.between(-length, length);
    const view = moved({ from: to - length, to }, by, newest);
    assert.ok(abs(view.to - view.from - length) < 0.01);
    assert.ok(abs(view.to - min(to + by, newest)) < 0.01, `${to} by ${by}`);
  });
});

test("a zoom keeps the time under the pointer, respects its limits, and never shows the future", async () => {
  await always((random) => {
    const newest = Date.UTC(2026, 10, 21);
    const shortest = 12 * random.pick(INTERVALS);
    const length = random.magnitude(shortest, YEAR);
    const to = newest - random.pick([0, random.between(0, YEAR)]);
    const from = to - length;
    const time = random.between(from, to);
    const factor = random.pick([0.7, 1.4, random.magnitude(0.001, 1_000)]);
    const view = zoomed({ from, to }, factor, time, shortest, newest);
    const context = `${length} by ${factor}: ${view.to - view.from}`;

    const expected = min(max(length * factor, shortest), YEAR);
    assert.ok(abs(view.to - view.from - expected) < 1, context);
    assert.ok(view.to <= newest + 0.01, context);
    const stays = abs((time - view.from) / expected - (time - from) / length) < 1e-6;
    // The time under the pointer may only move if the view would otherwise extend beyond the newest time.
    assert.ok(stays || (abs(view.to - newest) < 0.01 && time <= view.to), context);
    assert.ok(stays || factor > 1, context);
  });
});
