// Opens a page in a browser, as if it were on the pod, and waits until an element shows a text that matches, or until the
// largest canvas has a candle: node shown.mjs FILE URL SELECTOR [REGEX]

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { DEADLINE_MILLIS, launch } from "../../browser/browser.mjs";

const LIBRARY = "lightweight-charts.standalone.production.js";

const [file, url, selector, regex] = process.argv.slice(2);
// The browser does not know that the page's host is this machine, because the page is not loaded from a server. So without
// this, it refuses to connect a WebSocket to this machine.
const browser = await launch("--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets");
try {
  // Without a locale, the browser takes that of the environment, of which the library may not know the name.
  const page = await browser.newPage({ locale: "en-US" });
  const problems = [];
  page.on("pageerror", (error) => problems.push(`${error}`));
  await page.route(`${url}/example/`, (route) => route.fulfill({ contentType: "text/html", body: readFileSync(file, "utf8") }));
  await page.route(`${url}/example/${LIBRARY}`, (route) => {
    route.fulfill({ path: fileURLToPath(new URL(`../../../../.tools/node/node_modules/lightweight-charts/dist/${LIBRARY}`, import.meta.url)) });
  });
  await page.goto(`${url}/example/`);
  const isShown = ([selector, regex]) => {
    if (regex) return new RegExp(regex).test(document.querySelector(selector).textContent);
    // The library's colours of a candle that rises or falls.
    const isCandle = (data, at) => [[38, 166, 154], [239, 83, 80]].some((colour) => colour.every((part, index) => data[at + index] === part));
    return [...document.querySelectorAll(selector)].some((canvas) => {
      if (canvas.width < 300 || canvas.height < 200) return false;
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      for (let at = 0; at < data.length; at += 4) if (isCandle(data, at)) return true;
      return false;
    });
  };
  const shown = page.waitForFunction(isShown, [selector, regex], { timeout: DEADLINE_MILLIS, polling: 100 });
  await shown.catch((error) => {
    throw new Error(`${selector} does not show ${regex ?? "a candle"}; the page's errors: ${JSON.stringify(problems)}`, { cause: error });
  });
  assert.deepEqual(problems, []);
} finally {
  await browser.close();
}
