// A real, headless browser for tests: `const { page, close } = await open(url)`.
//
// It takes the browser that $TICKWELL_BROWSER names, else the system's Chromium or Chrome, else the one that
// scripts/tools put into .tools.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const TOOLS = fileURLToPath(new URL("../../../.tools/", import.meta.url));
const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const INSTALLED = join(TOOLS, "browser/chromium");

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
    // Beside it lie libraries and fonts that a server without a desktop lacks.
    env.LD_LIBRARY_PATH = join(TOOLS, "browser/al2023/lib");
    env.FONTCONFIG_PATH = join(TOOLS, "browser/fonts");
  }
  // The pages are our own, and in a container its sandbox cannot be had.
  return chromium.launch({ executablePath, env, args: ["--no-sandbox"], timeout: DEADLINE_MILLIS });
}

/** Opens a page in a browser of its own. `problems` fills with what the page complains of. */
export async function open(url) {
  const browser = await launch();
  const page = await browser.newPage();
  page.setDefaultTimeout(DEADLINE_MILLIS);
  const problems = [];
  page.on("pageerror", (error) => problems.push(`${error}`));
  page.on("request", (request) => {
    const foreign = !request.url().startsWith("data:") && new URL(request.url()).origin !== new URL(url).origin;
    if (foreign) problems.push(`it asks another host: ${request.url()}`);
  });
  await page.goto(url);
  return { page, problems, close: () => browser.close() };
}
