// First, all sources fail and recover. Then the pod is killed and started again. Checks what the page shows meanwhile,
// and that no tick is missing on the page afterwards.

import assert from "node:assert/strict";

import { PAIRS, answer, arrive, grouped, until } from "./sight.mjs";

/** The errors that the browser itself logs when nothing listens at the address, or when it has no network. */
const UNREACHABLE = /net::ERR_(INTERNET|CONNECTION|SOCKET|INCOMPLETE|EMPTY)/;

const age = ({ fresh }) => Number(/ (\d+) s ago/.exec(fresh)?.[1]);

export default async function ({ browser, url, behind }) {
  const { page, text, card, points, isLive, goodbye } = await arrive(browser, `${url}/#range=10m&average=`);
  await isLive();

  await behind("sources fail");
  const stale = await until("stale", () => card("BTC-USD"), ({ fresh }) => fresh.startsWith("stale · "));
  assert.equal((await answer(url, "/v1/prices/BTC-USD")).stale, true);
  assert.equal(await text("#state"), "live");
  await until("it growing older", () => card("BTC-USD"), (later) => age(later) > age(stale) + 1);
  assert.match(await page.title(), /^stale [\d,.]+ BTC-USD/);
  assert.match(await until("stale for listeners", () => text("#spoken"), (said) => said.includes("stale")), /BTC-USD [\d.]+ stale/);
  await behind("sources recover");
  await until("fresh again", () => card("BTC-USD"), (card) => card.fresh.startsWith("fresh · ") && age(card) < age(stale));

  // A browser that loses its network says so at once. The connection itself may seem alive for long.
  const soon = page.evaluate(() => new Promise((resolve) => {
    addEventListener("offline", () => setTimeout(() => resolve(document.getElementById("state").textContent), 1_000));
  }));
  await page.context().setOffline(true);
  assert.equal(await soon, "offline");
  assert.match((await card("BTC-USD")).fresh, /^not connected · /);
  await page.context().setOffline(false);
  await isLive();

  await page.getByRole("checkbox", { name: "Table" }).check();
  await until("a table", points, (seen) => PAIRS.every((pair) => seen[pair]?.length > 3));
  const killed = Date.now();
  await behind("kill the pod");
  await until("offline", () => text("#state"), (state) => state === "offline");
  assert.deepEqual(await page.evaluate(() => window.states.slice(-2)), ["reconnecting", "offline"]);
  assert.match(await until("the reason", () => text("#banner")), /^Not connected: .+\.$/);
  assert(await page.locator("#banner").isVisible());
  assert.match((await card("BTC-USD")).fresh, /^not connected · /);
  assert.match(await page.title(), /^offline [\d,.]+ BTC-USD/);

  await behind("start the pod");
  await isLive();
  assert.equal(await page.locator("#banner").isVisible(), false);
  await until("fresh", () => card("BTC-USD"), ({ fresh }) => fresh.startsWith("fresh"));
  // The table contains the ticks that were published while the pod was down, each of them once.
  for (const pair of PAIRS) {
    const moment = (slot) => new Date(slot).toISOString().slice(0, 19).replace("T", " ");
    const compared = async () => {
      const shown = (await points())[pair].map(([time, , , , price]) => [time, price]);
      const history = (await answer(url, `/v1/prices/${pair}/history?limit=1000`)).items.reverse();
      return [shown, history.map(({ slot, price }) => [moment(slot), grouped(price)])];
    };
    const isThere = ([shown, logged]) => {
      const text = JSON.stringify(shown).slice(1, -1);
      return shown.at(-1)[0] > moment(killed + 8_000) && JSON.stringify(logged).includes(text);
    };
    const [shown] = await until(`the log of ${pair} in the table`, compared, isThere);
    assert(shown[0][0] < moment(killed), "the table does not reach back so far");
  }
  await goodbye(UNREACHABLE);
}
