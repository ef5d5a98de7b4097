// Calls a data feed for Advanced Charts as the charting library does: node datafeed.mjs FILE URL

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import vm from "node:vm";

const [file, url] = process.argv.slice(2);

/** A stand-in for the browser's EventSource, which sends one tick. */
class EventSource {
  constructor(address) {
    assert.equal(address, `${url}/v1/stream?pairs=BTC-USD`);
  }
  addEventListener(kind, listener) {
    assert.equal(kind, "tick");
    setTimeout(listener);
  }
  close() {
    closed = true;
  }
}
let closed = false;
const page = vm.createContext({ EventSource, fetch, setTimeout, Map, Date });
vm.runInContext(`${readFileSync(file, "utf8")}\nthis.TickwellDatafeed = TickwellDatafeed;`, page);
const feed = new page.TickwellDatafeed(url);

const { supported_resolutions } = await new Promise((resolve) => feed.onReady(resolve));
assert.deepEqual([...supported_resolutions].sort(), ["1", "15", "1D", "240", "5", "60"]);

const found = await new Promise((resolve) => feed.searchSymbols("btc", "", "", resolve));
assert.deepEqual(found.map(({ symbol }) => symbol), ["BTC-USD"]);

const symbol = await new Promise((resolve, reject) => feed.resolveSymbol("BTC-USD", resolve, reject));
assert.equal(symbol.ticker, "BTC-USD");
assert(symbol.pricescale >= 1 && symbol.visible_plots_set === "ohlc");
assert.match(await new Promise((resolve, reject) => feed.resolveSymbol("BTC-XXX", reject, resolve)), /BTC-XXX/);

const now = Math.ceil(Date.now() / 1000) + 60;
const bars = (to, countBack) =>
  new Promise((resolve, reject) =>
    feed.getBars(symbol, "1", { from: to - 3_600, to, countBack, firstDataRequest: true }, (all, { noData }) => resolve({ all, noData }), reject));
const { all, noData } = await bars(now, 300);
assert.equal(noData, false);
assert(all.every(({ time }, at) => time % 60_000 === 0 && (at === 0 || time > all[at - 1].time)));
assert(all.every(({ open, high, low, close }) => low <= Math.min(open, close) && high >= Math.max(open, close)));
const candles = async (query) => (await (await fetch(`${url}/v1/prices/BTC-USD/candles?interval=1m&${query}`)).json()).items;
const first = (await candles(`limit=300&to=${now * 1000}`)).at(-1);
assert.deepEqual([all[0].time, all[0].open], [Date.parse(first.start), Number(first.open)]);
const [oldest] = await candles("order=asc&limit=1");
const before = await bars(Date.parse(oldest.start) / 1000, 300);
assert.deepEqual([before.all.length, before.noData], [0, true]);

const bar = await new Promise((resolve) => feed.subscribeBars(symbol, "1", resolve, "one"));
assert(bar.time >= all.at(-1).time && bar.close > 0);
feed.unsubscribeBars("one");
assert(closed);
process.exit();
