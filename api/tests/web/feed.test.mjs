// Tests how the page follows the log of a pod that fails as real pods do. The pod closes or breaks connections, refuses
// requests, stops responding, or no longer knows the cursor.
//
// The clock only advances when a test moves it, so nothing depends on the machine's speed.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { always } from "./random.mjs";
import { ask, follow, list, now } from "../../web/feed.js";

const SILENCE_MILLIS = 25_000;
/** Longer than any pause between two attempts, and shorter than the silence after which a stream is given up. */
const PAUSE_MILLIS = 20_000;
/** How many times `until` checks its condition before the test fails. */
const MOST_TURNS = 20_000;

const encoder = new TextEncoder();
const globals = new Map();
let online;

/** Replaces browser APIs that Node.js lacks or should not use here. */
function replace(name, value) {
  if (!globals.has(name)) globals.set(name, Object.getOwnPropertyDescriptor(globalThis, name));
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

/** Stops the clock and drops its timers. */
function stopClock() {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.parse("2026-11-21T14:05:00Z") });
}

beforeEach(() => {
  stopClock();
  online = [];
  replace("navigator", { onLine: true });
  replace("sessionStorage", {});
  replace("addEventListener", (name, listener) => name === "online" && online.push(listener));
});

afterEach(() => {
  mock.timers.reset();
  for (const [name, descriptor] of globals) {
    delete globalThis[name];
    if (descriptor) Object.defineProperty(globalThis, name, descriptor);
  }
  globals.clear();
});

/** Lets pending work run until a condition is true. */
async function until(isSo, what = `${isSo}`) {
  for (let turn = 0; !isSo(); turn++) {
    if (turn === MOST_TURNS) throw new Error(`did not happen: ${what}`);
    await new Promise(setImmediate);
  }
}

/** Lets everything happen that can happen while the clock stands still. */
async function rest() {
  for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
}

const headers = () => ({ Date: new Date().toUTCString() });
const json = (status, body) => new Response(JSON.stringify(body), { status, headers: headers() });

/** A response whose body the test writes. Like a real body, it fails when the request is aborted. */
function stream(signal) {
  let control;
  const body = new ReadableStream({ start: (controller) => (control = controller) });
  signal.addEventListener("abort", () => control.error(signal.reason));
  const write = (text) => control.enqueue(typeof text === "string" ? encoder.encode(text) : text);
  const response = new Response(body, { headers: headers() });
  return { response, write, close: () => control.close(), break: () => control.error(new TypeError("terminated")) };
}

const frame = (event) => `${JSON.stringify(event)}\n`;
const end = (code) => frame({ kind: "end", code, detail: `It is ${code}.` });
const tick = (number) => ({ id: `a-${number}`, kind: "tick", number });

/**
 * A pod that answers each stream request by calling the next function in `answers`. Once they are used up, requests get no
 * response.
 */
function pod(...answers) {
  const requests = [];
  replace("fetch", async (path, { headers: { ...sent }, signal }) => {
    assert.equal(path, "v1/stream");
    const request = { cursor: sent["Last-Event-ID"], headers: sent, signal, at: Date.now() };
    requests.push(request);
    const answer = answers.shift();
    if (answer) return answer(request);
    return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  });
  return requests;
}

/** Follows the log and records all calls. `follow` never ends, so the tests do not await it. */
function listen(begin = async () => {}) {
  const heard = { begins: 0, events: [], states: [], reasons: [] };
  follow({
    begin: () => {
      heard.begins++;
      return begin();
    },
    event: (event) => heard.events.push(event.number),
    state: (state, reason) => {
      heard.states.push(state);
      heard.reasons.push(reason);
    },
  });
  return heard;
}

test("events arrive as they are in the log, however the bytes are split and connections end", async () => {
  await always(async (random) => {
    const log = Array.from({ length: random.whole(1, 60) }, (_, number) => ({
      ...tick(number),
      // Multi-byte characters, and text inside an event that looks like the end of one.
      cause: random.pick(["", "€ 97", "日本 🜚", "\n\ndata: {}\n\n", "a".repeat(random.whole(0, 5_000))]),
    }));
    const heard = [];
    const [asked, expected] = [[], []];
    let begins = 0;

    const answer = async (_, { headers: { "Last-Event-ID": cursor }, signal }) => {
      asked.push(cursor);
      expected.push(log[heard.length - 1]?.id);
      const first = cursor ? log.findIndex(({ id }) => id === cursor) + 1 : 0;
      if (random.chance(0.1)) throw new TypeError("fetch failed");
      if (random.chance(0.1)) return new Response("<html>Bad gateway", { status: 502, headers: headers() });
      if (random.chance(0.1)) return json(503, { code: "not_ready", detail: "It reads the log." });

      const { response, write, close, break: breaks } = stream(signal);
      const last = random.whole(first, log.length);
      const heartbeat = () => random.pick(["", "", "\n", "\n\n"]);
      const frames = log.slice(first, last).map((event) => heartbeat() + frame(event));
      const ending = random.pick(["closes", "breaks", "ends", "cut"]);
      const farewell = ending === "ends" ? end("shutting_down") : "";
      const bytes = encoder.encode([...frames, farewell].join(""));
      const length = ending === "cut" ? random.whole(0, bytes.length) : bytes.length;
      const cuts = Array.from({ length: random.whole(0, 20) }, () => random.whole(0, length)).sort((a, b) => a - b);
      const chunks = [0, ...cuts].map((from, index) => bytes.slice(from, [...cuts, length][index]));
      (async () => {
        for (const chunk of chunks) {
          if (random.chance(0.3)) await new Promise(setImmediate);
          if (signal.aborted) return;
          if (chunk.length) write(chunk);
        }
        if (ending === "breaks") breaks();
        else close();
      })();
      return response;
    };
    replace("fetch", answer);
    follow({
      begin: async () => void begins++,
      event: (event) => heard.push(event),
      state: (state) => state === "live" || setImmediate(() => mock.timers.tick(PAUSE_MILLIS)),
    });
    await until(() => heard.length >= log.length, `${heard.length} of ${log.length} events`);
    // `follow` never ends, so leave it with a pod that never responds and a stopped clock.
    replace("fetch", () => new Promise(() => {}));
    await rest();
    stopClock();
    assert.deepEqual(heard, log);
    assert.deepEqual(asked, expected, "it does not continue after the last event");
    assert.equal(begins, asked.filter((cursor) => !cursor).length);
  }, 100);
});

test("an event is reported once it is complete", async () => {
  let body;
  pod(({ signal }) => (body = stream(signal)).response);
  const heard = listen();
  await until(() => body);
  body.write("\n");
  const text = frame(tick(1)) + frame(tick(2));
  body.write(text.slice(0, -1));
  await until(() => heard.events.length === 1);
  await rest();
  assert.deepEqual(heard.events, [1]);
  body.write("\n");
  await until(() => heard.events.length === 2);
  assert.deepEqual(heard.events, [1, 2]);
  assert.deepEqual(heard.states, ["live"]);
});

test("it calls begin before the first connection, and again if that brought no event", async () => {
  let isFailing = true;
  const requests = pod(({ signal }) => stream(signal).response);
  const heard = listen(async () => {
    if (isFailing) throw Object.assign(new Error("It is not ready."), { code: "not_ready" });
  });
  await until(() => heard.states.length === 1);
  assert.deepEqual([heard.begins, requests.length, heard.states[0]], [1, 0, "reconnecting"]);
  assert.equal(heard.reasons[0].code, "not_ready");
  isFailing = false;
  mock.timers.tick(PAUSE_MILLIS);
  await until(() => heard.states.at(-1) === "live");
  assert.deepEqual([heard.begins, requests.length, requests[0].cursor], [2, 1, undefined]);
  assert.equal(heard.reasons.at(-1), undefined);
});

for (const code of ["unknown_cursor", "sequence_gone", "log_replaced", "history_gone"]) {
  test(`after ${code} it starts again without a cursor, whether a response or the end of a stream has the code`, async () => {
    const bodies = [];
    const open = ({ signal }) => {
      bodies.push(stream(signal));
      return bodies.at(-1).response;
    };
    const requests = pod(open, () => json(409, { code, detail: "Start again." }), open, open);
    const heard = listen();
    await until(() => bodies.length === 1);
    bodies[0].write(frame(tick(7)));
    await until(() => heard.events.length === 1);
    bodies[0].close();
    for (const count of [2, 3]) {
      await until(() => heard.states.at(-1) === "reconnecting");
      mock.timers.tick(PAUSE_MILLIS);
      await until(() => requests.length === count && heard.states.at(-1) === (count === 2 ? "reconnecting" : "live"));
    }
    assert.deepEqual(requests.map(({ cursor }) => cursor), [undefined, "a-7", undefined]);
    assert.equal(heard.begins, 2);
    assert.ok(heard.reasons.some((reason) => reason?.code === code && reason.message === "Start again."));

    bodies[1].write(frame(tick(1)) + end(code));
    await until(() => heard.states.at(-1) === "reconnecting");
    assert.equal(heard.reasons.at(-1).message, `It is ${code}.`);
    mock.timers.tick(PAUSE_MILLIS);
    await until(() => requests.length === 4);
    assert.equal(requests[3].cursor, undefined);
    assert.equal(heard.begins, 3);
    assert.deepEqual(heard.events, [7, 1]);
  });
}

test("after any other end it resumes from its cursor", async () => {
  const bodies = [];
  const open = ({ signal }) => (bodies[bodies.length] = stream(signal)).response;
  const requests = pod(open, open);
  const heard = listen();
  await until(() => bodies.length === 1);
  bodies[0].write(frame(tick(1)) + end("too_slow"));
  await until(() => heard.states.at(-1) === "reconnecting");
  assert.ok(requests[0].signal.aborted, "the connection is left open");
  mock.timers.tick(PAUSE_MILLIS);
  await until(() => requests.length === 2);
  assert.deepEqual([requests[1].cursor, heard.begins, heard.reasons.at(-2).code], ["a-1", 1, "too_slow"]);
});

test("a silent stream is given up, and heartbeats keep it alive", async () => {
  let body;
  const requests = pod(({ signal }) => (body = stream(signal)).response);
  const heard = listen();
  await until(() => body);
  body.write(frame(tick(1)));
  await until(() => heard.events.length === 1);
  for (let beat = 0; beat < 5; beat++) {
    mock.timers.tick(SILENCE_MILLIS - 1);
    await rest();
    assert.ok(!requests[0].signal.aborted, `after ${beat} heartbeats`);
    body.write("\n");
    await rest();
  }
  assert.deepEqual(heard.states, ["live"]);
  mock.timers.tick(SILENCE_MILLIS - 1);
  await rest();
  assert.ok(!requests[0].signal.aborted);
  mock.timers.tick(1);
  await until(() => heard.states.at(-1) === "reconnecting");
  assert.ok(requests[0].signal.aborted);
  mock.timers.tick(PAUSE_MILLIS);
  await until(() => requests.length === 2);
  assert.equal(requests[1].cursor, "a-1");

  // The page does not wait forever for a response either.
  mock.timers.tick(SILENCE_MILLIS);
  await until(() => heard.states.length === 3);
  assert.ok(requests[1].signal.aborted);
});

test("it retries at growing intervals, and is offline after several failures", async () => {
  const requests = pod(...Array(12).fill(() => Promise.reject(new TypeError("fetch failed"))));
  const heard = listen();
  for (let count = 1; count <= 12; count++) {
    await until(() => heard.states.length === count);
    assert.equal(requests.length, count);
    const pause = Math.min(15_000, 500 * 2 ** (count - 1));
    mock.timers.tick(Math.floor(pause * 0.75) - 1);
    await rest();
    assert.equal(requests.length, count, "it does not wait");
    mock.timers.tick(Math.ceil(pause / 2) + 2);
    await until(() => requests.length === count + 1, `attempt ${count + 1} after ${pause} ms`);
  }
  assert.deepEqual(heard.states, [...Array(3).fill("reconnecting"), ...Array(9).fill("offline")]);
  assert.equal(heard.reasons[0].message, "fetch failed");
});

test("an event resets the count of failures", async () => {
  const bodies = [];
  const fails = () => Promise.reject(new TypeError("fetch failed"));
  const open = ({ signal }) => (bodies[bodies.length] = stream(signal)).response;
  const requests = pod(...Array(5).fill(fails), open);
  const heard = listen();
  for (let count = 1; count <= 5; count++) {
    await until(() => heard.states.length === count);
    mock.timers.tick(PAUSE_MILLIS);
  }
  await until(() => heard.states.at(-1) === "live");
  bodies[0].write(frame(tick(1)));
  await until(() => heard.events.length === 1);
  bodies[0].close();
  await until(() => heard.states.at(-1) !== "live");
  assert.equal(heard.states.at(-1), "reconnecting");
  mock.timers.tick(625);
  await until(() => requests.length === 7);
});

test("a browser without a network is offline at once, and retries as soon as it is online", async () => {
  navigator.onLine = false;
  const requests = pod(() => Promise.reject(new TypeError("fetch failed")), ({ signal }) => stream(signal).response);
  const heard = listen();
  await until(() => heard.states.length === 1);
  assert.deepEqual(heard.states, ["offline"]);
  await rest();
  assert.equal(requests.length, 1);
  online.at(-1)();
  await until(() => heard.states.at(-1) === "live");
});

test("every request carries the key, and no header is empty", async () => {
  const requests = pod(({ signal }) => stream(signal).response, ({ signal }) => stream(signal).response);
  listen();
  await until(() => requests.length === 1);
  assert.deepEqual(requests[0].headers, { Accept: "application/x-ndjson" });
  sessionStorage.apiKey = "one";
  listen();
  await until(() => requests.length === 2);
  assert.deepEqual(requests[1].headers, { Accept: "application/x-ndjson", "X-API-Key": "one" });
});

test("ask returns the body, and throws the code and detail of a problem", async () => {
  const paths = [];
  const answers = [
    json(200, { items: [3, 2, 1] }),
    json(401, { code: "unauthorized", detail: "Send a key." }),
    new Response("<html>", { status: 502, headers: headers() }),
  ];
  replace("fetch", async (path) => {
    paths.push(path);
    return answers.shift();
  });
  assert.deepEqual(await list("v1/prices/BTC-USD/history?from=5", 599.5), [1, 2, 3]);
  await assert.rejects(ask("v1/pairs"), { code: "unauthorized", message: "Send a key." });
  await assert.rejects(ask("v1/pairs"), { code: undefined, message: "the response is HTTP 502" });
  assert.deepEqual(paths, ["v1/prices/BTC-USD/history?from=5&limit=600", "v1/pairs", "v1/pairs"]);
});

test("a limited page sends nothing until it may, and says when it continues", async () => {
  let requests = 0;
  replace("fetch", async () => {
    requests++;
    return new Response("{}", { status: requests === 1 ? 429 : 200, headers: { ...headers(), "Retry-After": "20" } });
  });
  const continues = (error) => error.message.includes("14:05:20");
  await assert.rejects(ask("v1/pairs"), continues);
  mock.timers.tick(19_999);
  await assert.rejects(ask("v1/sources"), continues);
  assert.equal(requests, 1);
  mock.timers.tick(1);
  await ask("v1/sources");
  assert.equal(requests, 2);
});

test("now follows the pod's clock, and does not jump because Date headers have whole seconds", async () => {
  const answer = async (ahead) => {
    const date = new Date(Math.floor((Date.now() + ahead) / 1_000) * 1_000).toUTCString();
    replace("fetch", async () => new Response("{}", { headers: { Date: date } }));
    await ask("v1/pairs");
    return now() - Date.now();
  };
  for (const ahead of [3_600_000, -7_200_000, 90_000]) {
    const first = await answer(ahead);
    assert.ok(Math.abs(first - ahead) <= 1_000, `${first} is not ${ahead}`);
    for (let turn = 0; turn < 10; turn++) {
      mock.timers.tick(137);
      assert.equal(await answer(ahead), first);
    }
  }
  replace("fetch", async () => new Response("{}"));
  const before = now();
  await ask("v1/pairs");
  assert.equal(now(), before);
});
