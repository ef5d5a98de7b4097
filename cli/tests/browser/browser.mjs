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

/** Looks for what some people cannot see, hear or reach: a script that runs in a page. */
export const axe = () => createRequire(join(TOOLS, "node/")).resolve("axe-core/axe.min.js");

/** Never reached by a passing test, however slow the machine. */
export const DEADLINE_MILLIS = 120_000;

/** The browser's program; without any, the error says what to do. */
function find() {
  if (process.env.TICKWELL_BROWSER) return process.env.TICKWELL_BROWSER;
  const folders = (process.env.PATH ?? "").split(delimiter);
  const candidates = [...NAMES.flatMap((name) => folders.map((folder) => join(folder, name))), INSTALLED];
  const found = candidates.find((path) => existsSync(path));
  if (!found) throw new Error("there is no Chromium: run scripts/tools, or name one with TICKWELL_BROWSER");
  return found;
}

/** A browser, for any number of visits. */
export async function launch() {
  const { chromium } = createRequire(join(TOOLS, "node/"))("playwright-core");
  const executablePath = find();
  const env = { ...process.env };
  if (executablePath === INSTALLED) {
    // Libraries and fonts that a server without a desktop lacks are next to the browser.
    env.LD_LIBRARY_PATH = join(TOOLS, "browser/al2023/lib");
    env.FONTCONFIG_PATH = join(TOOLS, "browser/fonts");
  }
  // The sandbox does not work in containers, and the pages are our own.
  return chromium.launch({ executablePath, env, args: ["--no-sandbox"], timeout: DEADLINE_MILLIS });
}

/**
 * Opens a page for somebody who was never there before; `options` are those of a browser's context, and `prepare` runs in
 * the page before its own scripts. `problems` fills with what the page complains of.
 */
export async function visit(browser, url, options = {}, prepare = () => {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE_MILLIS);
  const problems = [];
  // For messages about failed visits.
  browser.problems = problems;
  page.on("pageerror", (error) => problems.push(`${error}`));
  page.on("console", (message) => {
    if (message.type() === "error") problems.push(`${message.text()} (${message.location().url})`);
  });
  page.on("request", (request) => {
    const foreign = !request.url().startsWith("data:") && new URL(request.url()).origin !== new URL(url).origin;
    if (foreign) problems.push(`it asks another host: ${request.url()}`);
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI, sample }) =>
      console.error(`against its policy: ${violatedDirective}, ${blockedURI} ${sample}`));
  });
  await page.addInitScript(prepare);
  await page.goto(url);
  return { page, problems, leave: () => context.close() };
}

/** Opens a page in a browser of its own. */
export async function open(url) {
  const browser = await launch();
  return { ...(await visit(browser, url)), close: () => browser.close() };
}
