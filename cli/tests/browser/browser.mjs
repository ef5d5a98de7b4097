// A real, headless browser for tests: `const { page, problems, close } = await open(url)`.
//
// It uses the browser in $TICKWELL_BROWSER, otherwise the system's Chromium or Chrome, otherwise the one that scripts/tools
// installed into .tools.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const TOOLS = fileURLToPath(new URL("../../../.tools/", import.meta.url));
const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const INSTALLED = join(TOOLS, "browser/chromium");

/** The path of axe, a script that checks the accessibility of the page in which it runs. */
export const axe = () => createRequire(join(TOOLS, "node/")).resolve("axe-core/axe.min.js");

/** The limit for waiting. It is so long that a passing test never reaches it, even on a slow machine. */
export const DEADLINE_MILLIS = 120_000;

/** The path of the browser's program. If there is none, throws an error that says what to do. */
function find() {
  if (process.env.TICKWELL_BROWSER) return process.env.TICKWELL_BROWSER;
  const folders = (process.env.PATH ?? "").split(delimiter);
  const candidates = [...NAMES.flatMap((name) => folders.map((folder) => join(folder, name))), INSTALLED];
  const found = candidates.find((path) => existsSync(path));
  if (!found) throw new Error("Chromium not found: run scripts/tools, or set TICKWELL_BROWSER to its path");
  return found;
}

/** Launches a browser that can open any number of pages. `more` are arguments of the browser's command line. */
export async function launch(...more) {
  const { chromium } = createRequire(join(TOOLS, "node/"))("playwright-core");
  const executablePath = find();
  const env = { ...process.env };
  if (executablePath === INSTALLED) {
    // A server without a desktop lacks some libraries and fonts, so they are installed next to the browser.
    env.LD_LIBRARY_PATH = join(TOOLS, "browser/al2023/lib");
    env.FONTCONFIG_PATH = join(TOOLS, "browser/fonts");
  }
  // The sandbox does not work in containers. It is not needed either, because the tests only open our own pages.
  return chromium.launch({ executablePath, env, args: ["--no-sandbox", ...more], timeout: DEADLINE_MILLIS });
}

/**
 * Opens a page in a new browser context, as for a first-time visitor. `options` configures the context. `prepare` is a
 * function, or several, that run in the page before the page's own scripts. Requests whose URL matches a key of `canned`
 * get its JSON as their response, or the result if it is a function, or no response if it is null. `problems` collects the
 * page's errors.
 */
export async function visit(browser, url, options = {}, prepare = () => {}, canned = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE_MILLIS);
  const problems = [];
  // page.mjs prints these if a scene fails.
  browser.problems = problems;
  page.on("pageerror", (error) => problems.push(`${error}`));
  page.on("console", (message) => {
    if (message.type() === "error") problems.push(`${message.text()} (${message.location().url})`);
  });
  page.on("request", (request) => {
    const foreign = !request.url().startsWith("data:") && new URL(request.url()).origin !== new URL(url).origin;
    if (foreign) problems.push(`a request to another host: ${request.url()}`);
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI, sample }) =>
      console.error(`violation of its content security policy: ${violatedDirective}, ${blockedURI} ${sample}`));
  });
  for (const script of [prepare].flat()) await page.addInitScript(script);
  for (const [pattern, json] of Object.entries(canned)) await page.route(pattern, (route) => json && route.fulfill({ json: typeof json === "function" ? json() : json }));
  await page.goto(url);
  return { page, problems, leave: () => context.close() };
}

/** Launches a browser and opens a page in it. */
export async function open(url) {
  const browser = await launch();
  return { ...(await visit(browser, url)), close: () => browser.close() };
}
