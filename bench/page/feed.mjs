// Starts a pod that already has a day of prices, and gets ten new ticks per second.

import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

export const PAIRS = ["BTC-USD", "ETH-USD"];
const [PRICES, FIRST_MILLIS, SLOT_MILLIS, DAY_SLOTS] = [[60_000, 2_500], 1_700_000_000_000, 10_000, 8_640];
/** The speed of the replay. With slots of 10 s, five slots pass per second. Each slot has a tick of each pair. */
const SPEED = "50x";
const PATIENCE_MILLIS = 120_000;

/** Reproducible random numbers from 0 to 1, from a linear congruential generator. */
function* chance(seed) {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    yield state / 2 ** 32;
  }
}

/** A random walk of this many days, as the text of a recording (CSV). */
function walk(seed, start, days) {
  const random = chance(seed);
  let price = start;
  const rows = Array.from({ length: days * DAY_SLOTS }, (_, slot) => {
    price *= 1 + (random.next().value - 0.5) * 4e-4;
    return `${FIRST_MILLIS + slot * SLOT_MILLIS},${price.toFixed(2)}`;
  });
  return `${["ts_ms,price", ...rows].join("\n")}\n`;
}

/** Starts Tickwell with recordings of this many days. */
async function start({ binary, folder, days, speed, origin }) {
  const files = PAIRS.map((pair, index) => {
    const name = join(folder, `${pair}-${days}.csv`);
    writeFileSync(name, walk(index + 1, PRICES[index], days));
    return `kraken:${pair}:${name}`;
  });
  const settings = {
    "feed.sources": "replay",
    "replay.files": files.join(),
    "replay.speed": speed,
    "aggregate.min_sources": 1,
    "api.listen": "127.0.0.1:0",
    "api.cors_origins": origin,
    "api.rate_limit": "off",
    "store.path": join(folder, "store"),
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ["--set", `${name}=${value}`]);
  const child = spawn(binary, ["run", ...flags], { stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise((resolve) => child.once("close", resolve));
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (said += text));
  const hears = async (pattern) => {
    const deadline = Date.now() + PATIENCE_MILLIS;
    while (!pattern.test(said)) {
      if (child.exitCode !== null || Date.now() > deadline) throw new Error(`${binary} did not print ${pattern}:\n${said}`);
      await pause(20);
    }
    return pattern.exec(said)[1];
  };
  const stop = () => {
    child.kill();
    return ended;
  };
  try {
    return { url: await hears(/page +(http:\S+)\//), version: await hears(/^(Tickwell .*?),/m), hears, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Starts a pod that allows pages of `origin` to read its responses (CORS). A first process replays a day as fast as
 * possible and exits. A second process continues with the same store.
 */
export async function feed({ binary, folder, origin }) {
  const past = await start({ binary, folder, origin, days: 1, speed: "max" });
  await past.hears(/(reached the end of the recording)/).finally(past.stop);
  // At this speed, the second day of the recording lasts for half an hour.
  return start({ binary, folder, origin, days: 2, speed: SPEED });
}

/** The pod's newest slot, in milliseconds of the recording. */
export async function newest(url) {
  const { items } = await (await fetch(`${url}/v1/pairs`)).json();
  return Date.parse(items[0].slot);
}

/** How many ticks of all pairs arrived per second while the recording advanced from one slot to another. */
export const rate = (from, to, elapsedMillis) => ((to - from) / SLOT_MILLIS / (elapsedMillis / 1_000)) * PAIRS.length;
