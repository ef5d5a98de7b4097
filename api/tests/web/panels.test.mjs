// Tests the gaps that the page shows. Each gap is a whole outage, which may be several records of the log. The gaps are
// compared with a list of slots.

import assert from "node:assert/strict";
import { test } from "node:test";

import { always } from "./random.mjs";
import { joined } from "../../web/panels.js";
import { words } from "../../web/text.js";
import { milliseconds } from "../../web/text.js";

const START = Date.parse("2024-02-28T23:59:00Z");
const CAUSES = ["too_few_sources", "disagreement", "not_polled"];

const text = (time) => new Date(time).toISOString();

test("a gap reaches from the tick before it to the tick after it", () => {
  assert.deepEqual(joined([]), []);
  const item = { from: text(START), to: text(START), interval: "10s", cause: "not_polled" };
  const [from, to] = [START - 10_000, START + 10_000];
  assert.deepEqual(joined([item]), [{ from, to, length: 10_000, cause: "not polled" }]);
});

test("adjacent gaps of one cause are joined, but not gaps of two causes or with a tick between them", () => {
  const item = (from, to, cause = "disagreement") =>
    ({ from: text(START + from * 1_000), to: text(START + to * 1_000), interval: "1s", cause });
  const lengths = (...items) => joined(items).map(({ length }) => length);
  assert.deepEqual(lengths(item(1, 3), item(4, 4), item(5, 9)), [9_000]);
  assert.deepEqual(lengths(item(1, 3), item(4, 4, "not_polled"), item(5, 9)), [3_000, 1_000, 5_000]);
  assert.deepEqual(lengths(item(1, 3), item(5, 9)), [3_000, 5_000]);
  // The stream may repeat a gap.
  assert.deepEqual(lengths(item(1, 3), item(3, 3)), [3_000]);
});

test("joined gaps cover exactly the slots without a tick", async () => {
  await always((random) => {
    const interval = random.pick(["100ms", "1s", "10s", "1m", "1h"]);
    const step = milliseconds(interval);
    const stay = random.pick([0.5, 0.9]);
    const slots = [];
    for (let index = 0; index < 200; index++) {
      slots.push(index && random.chance(stay) ? slots.at(-1) : random.pick([undefined, ...CAUSES]));
    }
    const at = (index) => START + index * step;

    // The log may split an outage into any number of records.
    const items = [];
    for (const [index, cause] of slots.entries()) {
      if (!cause) continue;
      if (slots[index - 1] !== cause || random.chance(0.2)) items.push({ cause, interval, from: text(at(index)) });
      items.at(-1).to = text(at(index));
    }

    const gaps = joined(items);
    const firsts = slots.flatMap((cause, index) => (cause && slots[index - 1] !== cause ? [index] : []));
    const expected = firsts.map((first) => {
      let behind = first;
      while (slots[behind] === slots[first]) behind++;
      return { from: at(first - 1), to: at(behind), length: at(behind) - at(first), cause: words(slots[first]) };
    });
    assert.deepEqual(gaps, expected);
  });
});
