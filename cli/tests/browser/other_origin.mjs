// Runs a script in a page of another origin than the pod, and prints what the script passes to `heard`:
//   node other_origin.mjs SCRIPT
//
// The errors in the browser's console are printed as `console: …`.

import { launch } from "./browser.mjs";

const ORIGIN = "http://app.example";

const browser = await launch();
const page = await browser.newPage();
page.on("console", (message) => message.type() === "error" && console.log(`console: ${message.text()}`));
page.on("pageerror", (error) => console.log(`console: ${error}`));
await page.exposeFunction("heard", (what) => console.log(JSON.stringify(what)));
await page.route(`${ORIGIN}/`, (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html>" }));
await page.goto(`${ORIGIN}/`);
await page.addScriptTag({ content: process.argv[2] });
