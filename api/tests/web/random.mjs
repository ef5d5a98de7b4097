// Random inputs that can be repeated: a failure reports its seed, and with TICKWELL_TEST_SEED=… only that input runs.

import { randomInt } from "node:crypto";

const RUNS = 300;

/** Random numbers from a seed, with the generator mulberry32. */
function generator(seed) {
  let state = seed >>> 0;
  const fraction = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const between = (low, high) => low + fraction() * (high - low);
  const whole = (low, high) => Math.floor(between(low, high + 1));
  return {
    between,
    whole,
    /** A number whose order of magnitude is random. */
    magnitude: (low, high) => Math.exp(between(Math.log(low), Math.log(high))),
    chance: (probability) => fraction() < probability,
    pick: (items) => items[whole(0, items.length - 1)],
    digits: (count) => Array.from({ length: count }, () => whole(0, 9)).join(""),
  };
}

/** Runs `check` with many random inputs. */
export async function always(check, runs = RUNS) {
  const given = process.env.TICKWELL_TEST_SEED;
  const first = Number(given ?? randomInt(2 ** 31));
  for (let seed = first; seed < first + (given ? 1 : runs); seed++) {
    try {
      await check(generator(seed));
    } catch (cause) {
      throw new Error(`failed with TICKWELL_TEST_SEED=${seed}: ${cause.message}`, { cause });
    }
  }
}

/** The points of a feed. Some are missing, singly or many in a row. */
export function feed(random, count, step, missing = random.pick([0, 0.02, 0.3])) {
  const points = [];
  let [time, close] = [random.whole(0, 1e6) * step, random.magnitude(1e-5, 1e5)];
  while (points.length < count) {
    time += step * (random.chance(missing) ? random.whole(2, 30) : 1);
    // Consecutive equal prices are common.
    if (random.chance(0.7)) close *= 1 + random.between(-0.001, 0.001);
    points.push({ time, close });
  }
  return points;
}
