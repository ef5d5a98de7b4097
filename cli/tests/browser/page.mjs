// Runs scenes with the page one after the other in one browser, and stops at the first failure:
//   node page.mjs http://127.0.0.1:8080 prices chart
//
// When a scene needs a change outside the browser, this script prints a request to stdout ("kill the pod") and waits
// for a line on stdin. If the request was to start a pod, the line is the address of that pod.

import { createInterface } from "node:readline";

import { launch } from "./browser.mjs";

const [url, ...names] = process.argv.slice(2);
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function behind(what) {
  console.log(what);
  return (await answers.next()).value;
}

const browser = await launch();
try {
  for (const name of names) {
    const { default: play } = await import(`./page/${name}.mjs`);
    const began = Date.now();
    await play({ browser, url, behind }).catch((error) => {
      throw new Error(`${name}; the page's errors: ${JSON.stringify(browser.problems)}`, { cause: error });
    });
    console.error(`${name}: ${Date.now() - began} ms`);
  }
} finally {
  await browser.close();
  process.stdin.destroy();
}
