// Calls the functions of a script for Google Sheets, with a stand-in for Google's UrlFetchApp: node apps_script.mjs FILE URL

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import vm from "node:vm";

const [file, url] = process.argv.slice(2);

/** Google's requests are synchronous. */
const UrlFetchApp = {
  fetch(address, { muteHttpExceptions }) {
    assert(muteHttpExceptions);
    const output = execFileSync("curl", ["--silent", "--write-out", "\n%{http_code}", address], { encoding: "utf8" });
    const [, body, status] = /^(.*)\n(\d+)$/s.exec(output);
    return { getContentText: () => body, getResponseCode: () => Number(status) };
  },
};
const sheet = vm.createContext({ UrlFetchApp });
vm.runInContext(readFileSync(file, "utf8"), sheet);

const ask = async (path) => (await fetch(url + path)).json();
assert(sheet.TICKWELL("BTC-USD") > 0);
const rows = sheet.TICKWELL_HISTORY("BTC-USD", 2);
assert.equal(rows.length, 2);
const { items } = await ask("/v1/prices/BTC-USD/history?limit=1000");
for (const [time, price] of rows) {
  const item = items.find(({ slot }) => Date.parse(slot) === time.getTime());
  assert.equal(price, Number(item.price));
}
const oldest = items.at(-1);
assert.equal(sheet.TICKWELL_AT("BTC-USD", oldest.slot), Number(oldest.price));
assert.throws(() => sheet.TICKWELL_AT("BTC-USD", "2001-01-01"), /before_history/);
assert.throws(() => sheet.TICKWELL("BTC-XXX"), /BTC-XXX/);
