// Runs a script in a page of another origin than the pod, and prints what the script passes to `heard`:
//   node other_origin.mjs SCRIPT
//
// The errors in the browser's console are printed as `console: …`.

import { createServer } from "node:http";

import { launch } from "./browser.mjs";

// The page must come from this machine too, because browsers keep pages of other networks from reaching it.
const server = createServer((_, response) => response.setHeader("Content-Type", "text/html").end("<!doctype html>"));
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const browser = await launch();
const page = await browser.newPage();
page.on("console", (message) => message.type() === "error" && console.log(`console: ${message.text()}`));
page.on("pageerror", (error) => console.log(`console: ${error}`));
await page.exposeFunction("heard", (what) => console.log(JSON.stringify(what)));
await page.goto(`http://127.0.0.1:${server.address().port}/`);
await page.addScriptTag({ content: process.argv[2] });
