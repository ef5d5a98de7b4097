// Tests thinning and averages, and compares them with naive computations over all points.

import assert from "node:assert/strict";
import { test } from "node:test";

import { always, feed } from "./random.mjs";
import { extendLine, extendMean, lineOf, meanOf, pointOf } from "../../web/series.js";

const { abs, floor, max, min } = Math;

const [SECOND, MINUTE, HOUR] = [1_000, 60_000, 3_600_000];
const INTERVALS = [SECOND, 10 * SECOND, MINUTE, HOUR];

/** A line of points that arrive in several parts, with `undefined` at gaps. */
function lineThrough(points, step, size, random) {
  const arrived = [];
  const line = lineOf(arrived, step, size);
  let last = [];
  for (let end = 0; end < points.length || !last.length; last = extendLine(line)) {
    const start = end;
    end = random ? random.whole(start, points.length) : points.length;
    arrived.push(...points.slice(start, end));
    if (!points.length) break;
  }
  return [...line.drawn, ...last].map((point) => ("close" in point ? point : undefined));
}

/** Writes means to points that arrive in several parts, and returns them. */
function means(points, length, step, random) {
  const arrived = [];
  const mean = meanOf(arrived, step, length);
  while (arrived.length < points.length) {
    const parts = random ? random.whole(1, points.length - arrived.length) : points.length;
    arrived.push(...points.slice(arrived.length, arrived.length + parts));
    extendMean(mean);
  }
  return points.map(({ mean }) => mean);
}

test("a line keeps the first, lowest, highest and last of every column, and never bridges a gap", async () => {
  await always((random) => {
    const step = random.pick(INTERVALS);
    const points = feed(random, random.whole(1, 400), step);
    const size = (step * random.whole(1, 400)) / random.whole(1, 7);
    const line = lineThrough(points, step, size, random);

    // Each run between gaps, and each column in it.
    const columns = new Map();
    const runs = [];
    for (const [index, point] of points.entries()) {
      if (!index || point.time - points[index - 1].time > step) runs.push([]);
      runs.at(-1).push(point);
      const key = `${runs.length} ${floor(point.time / size)}`;
      columns.set(key, [...(columns.get(key) ?? []), point]);
    }

    const kept = line.filter(Boolean);
    assert.deepEqual(kept, points.filter((point) => kept.includes(point)), "the order has changed");
    for (const column of columns.values()) {
      const left = column.filter((point) => kept.includes(point));
      const extremes = (of) => [min, max].map((extreme) => extreme(...of.map(({ close }) => close)));
      assert.deepEqual([left[0], left.at(-1)], [column[0], column.at(-1)]);
      assert.deepEqual(extremes(left), extremes(column));
      assert.ok(left.length <= 4, `${left.length} are left of ${column.length}`);
    }

    const strokes = [[]];
    for (const point of line) point ? strokes.at(-1).push(point) : strokes.push([]);
    const expected = runs.map((run) => run.filter((point) => kept.includes(point)));
    assert.deepEqual(strokes, expected, "a stroke is not exactly one run");
    assert.deepEqual(line, lineThrough(points, step, size), "it depends on how the points arrive");
  });
});

test("a single point between gaps stays, and so do few points", () => {
  const points = [0, 10, 50, 90, 100].map((time) => ({ time, close: 1 }));
  assert.deepEqual(lineThrough(points, 10, 1_000), [points[0], points[1], undefined, points[2], undefined, points[3], points[4]]);
  assert.deepEqual(lineThrough(points.slice(0, 1), 10, 1_000), [points[0]]);
  assert.deepEqual(lineThrough([], 10, 1_000), []);
});

test("a line of minutes that were backfilled breaks only where a minute is missing", () => {
  const breaks = (past) => {
    const points = [0, 1, 2, 4].map((minute) => ({ time: minute * MINUTE, close: 1, past }));
    return lineThrough(points, 10 * SECOND, SECOND).filter((point) => !point).length;
  };
  assert.deepEqual([breaks(true), breaks(false)], [1, 3]);
});

/** The mean of a window, by summation. A backfilled point stands for its minute. */
function naiveMean(points, index, length, step) {
  const { time } = points[index];
  let [sum, weight] = [0, 0];
  for (let at = index; at >= 0 && points[at].time > time - length; at--) {
    const slots = points[at].past ? max(1, MINUTE / step) : 1;
    sum += points[at].close * slots;
    weight += slots;
  }
  return weight >= length / step / 2 ? sum / weight : NaN;
}

test("an average is the mean of its window, and is missing if less than half of the window exists", async () => {
  await always((random) => {
    const step = random.pick(INTERVALS);
    const points = feed(random, random.whole(1, 300), step);
    // A past of one point a minute may precede the others.
    const [{ time: first, close }] = points;
    const minutes = random.pick([0, random.whole(1, 60)]);
    for (let minute = 1; minute <= minutes; minute++) points.unshift({ time: first - minute * max(step, MINUTE), close, past: true });
    const length = random.whole(2, 120) * step;
    for (const [index, mean] of means(points, length, step, random).entries()) {
      const expected = naiveMean(points, index, length, step);
      assert.equal(isNaN(mean), isNaN(expected), `point ${index} of ${points.length}`);
      assert.ok(isNaN(mean) || abs(mean / expected - 1) < 1e-9, `${mean} is not ${expected}`);
    }
  });
});

test("there is no average without a length, or of fewer than two points", () => {
  const points = [1, 2, 3].map((place) => ({ time: place * MINUTE, close: place }));
  assert.deepEqual(means(points, 0, MINUTE), [NaN, NaN, NaN]);
  assert.deepEqual(means(points, MINUTE, MINUTE), [NaN, NaN, NaN]);
  assert.deepEqual(means(points, 2 * MINUTE, MINUTE), [1, 1.5, 2.5]);
});

test("an average of many points does not drift", async () => {
  await always((random) => {
    const points = feed(random, 100_000, SECOND, 0.02);
    const found = means(points, HOUR, SECOND);
    for (let index = 0; index < points.length; index += 997) {
      const expected = naiveMean(points, index, HOUR, SECOND);
      assert.ok(isNaN(expected) || abs(found[index] / expected - 1) < 1e-9, `${found[index]} is not ${expected}`);
    }
  }, 3);
});

test("a tick is a point whose four prices are one, and the digits stay those of the log", () => {
  const { time, open, high, low, close, past, text } = pointOf({ slot: "2026-11-21T14:05:00Z", price: "97012.30", backfilled: true });
  const price = "97012.30";
  assert.deepEqual({ time, open, high, low, close, past, text }, {
    time: Date.UTC(2026, 10, 21, 14, 5), open: 97012.3, high: 97012.3, low: 97012.3, close: 97012.3, past: true,
    text: { open: price, high: price, low: price, close: price },
  });
  const candle = pointOf({ start: "2026-11-21T14:05:00Z", open: "2.0", high: "4.0", low: "1.0", close: "3.0" });
  assert.deepEqual([candle.open, candle.high, candle.low, candle.close, candle.text.high], [2, 4, 1, 3, "4.0"]);
});
