// Asks a server in CoinGecko's dialect through CoinGecko's official client for TypeScript. Prints the answers as JSON.
//
// Usage: node client.mjs PACKAGES URL KEY FROM TO

import { createRequire } from "node:module";

const [packages, url, key, from, to] = process.argv.slice(2);
const { default: Coingecko } = createRequire(`${packages}/`)("@coingecko/coingecko-typescript");
const client = new Coingecko({ baseURL: `${url}/api/v3`, demoAPIKey: key });

const chart = (days) => client.coins.marketChart.get("bitcoin", { vs_currency: "usd", days });
const ohlc = (days) => client.coins.ohlc.get("bitcoin", { vs_currency: "usd", days });
const unknown = async () => {
  try {
    await client.coins.marketChart.get("nothing", { vs_currency: "usd", days: "1" });
    return null;
  } catch (error) {
    return error instanceof Coingecko.NotFoundError ? error.error : String(error);
  }
};

console.log(
  JSON.stringify([
    {
      ping: await client.ping.get(),
      price: await client.simple.price.get({
        ids: "bitcoin,ethereum,dogecoin",
        vs_currencies: "usd,eur",
        include_24hr_change: true,
        include_last_updated_at: true,
        include_market_cap: true,
        include_24hr_vol: true,
        precision: "full",
      }),
      currencies: await client.simple.supportedVsCurrencies.get(),
      coins: await client.coins.list.get(),
      charts: [await chart("1"), await chart("10"), await chart("max")],
      range: await client.coins.marketChart.getRange("bitcoin", { vs_currency: "usd", from, to }),
      ohlc: [await ohlc("1"), await ohlc("7"), await ohlc("max")],
      rates: await client.exchangeRates.get(),
      unknown: await unknown(),
    },
  ]),
);
