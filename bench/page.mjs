// Compares the page with uPlot: both draw the same day of two pairs while ticks arrive. scripts/bench runs this script:
//   node page.mjs BINARY [--redraws N] [--rounds N]

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { feed } from "./page/feed.mjs";
import { at, median, write } from "./page/report.mjs";
import { follow, look, open } from "./page/visit.mjs";

const SIZES = [{ width: 1440, height: 1000 }, { width: 360, height: 780 }];
/** A frame is late if it comes more than this long after the previous one: at least one frame was then skipped. */
const LATE_MILLIS = (1_000 / 60) * 1.5;
/** How many times a page is opened in each round. */
const OPENINGS = 3;

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const uplot = here("../.tools/bench/node_modules/uplot/");
const SERVED = {
  "/": ["text/html", here("page/peer.html")],
  "/peer.js": ["text/javascript", here("page/peer.js")],
  "/uplot.js": ["text/javascript", join(uplot, "dist/uPlot.iife.min.js")],
  "/uplot.css": ["text/css", join(uplot, "dist/uPlot.min.css")],
};

/** Serves uPlot's page. */
async function serve() {
  const server = createServer(({ url }, response) => {
    const [type, path] = SERVED[url] ?? [];
    response.writeHead(path ? 200 : 404, { "Content-Type": type ?? "text/plain" }).end(path && readFileSync(path));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

/** Measures the pages at one size, one after the other. Every second round runs in the opposite order. */
async function compare({ size, pod, peer, redraws, rounds }) {
  const page = `${pod.url}/#range=1d`;
  const { browser, colours, width, height } = await look({ url: page, size });
  const drawn = new URLSearchParams({ pod: pod.url, width, height, colours });
  const sides = {
    page: { url: page, opened: [], followed: [] },
    bare: { url: `${page}&average=`, followed: [] },
    uplot: { url: `${peer.url}/#${drawn}`, opened: [], followed: [] },
  };
  for (let round = 0; round < rounds; round++) {
    const turns = Object.entries(sides);
    for (const [name, { url, opened, followed }] of round % 2 ? turns.reverse() : turns) {
      const side = { url, size, colours, pod: pod.url };
      for (let opening = 0; opened && opening < OPENINGS; opening++) opened.push(await open(side));
      const run = await follow(side, redraws);
      followed.push(run);
      const shares = run.covered.map((share) => `${(share * 100).toFixed(0)} %`).join(" and ");
      console.error(`${size.width}×${size.height}, round ${round + 1}, ${name}: ${median(run.redraws).toFixed(1)} ms a redraw, ` +
        `${run.tickRate.toFixed(1)} ticks and ${run.redrawRate.toFixed(1)} redraws a second, lines over ${shares} of the width`);
    }
  }
  return { title: `${size.width}×${size.height}`, browser, sides };
}

function linesOf({ title, sides }) {
  const all = (side, what) => side.followed.flatMap((run) => run[what]);
  const middle = (runs, what) => median(runs.map((run) => run[what]));
  const line = (name, unit, figure, ours = sides.page) => ({ name: `${title}: ${name}`, unit, ours: figure(ours), other: figure(sides.uplot) });
  const redraw = (share) => (side) => at(all(side, "redraws"), share);
  const between = (share) => (side) => at(all(side, "frames"), share);
  const late = (frames) => frames.filter((length) => length > LATE_MILLIS).length / frames.length;
  return [
    line("first contentful paint, median", "ms", ({ opened }) => middle(opened, "paint")),
    line("lines drawn, median", "ms", ({ opened }) => middle(opened, "drawn")),
    line("transferred until then", "kB", ({ opened }) => middle(opened, "bytes") / 1e3),
    line("redraw, median", "ms", redraw(0.5)),
    line("redraw, p95", "ms", redraw(0.95)),
    line("redraw, max", "ms", redraw(1)),
    line("redraw without averages, median", "ms", redraw(0.5), sides.bare),
    line("main thread, a redraw", "ms", ({ followed }) => middle(followed, "thread")),
    line("whole browser, CPU a redraw", "ms", ({ followed }) => middle(followed, "browser")),
    line("between frames, median", "ms", between(0.5)),
    line("between frames, p95", "ms", between(0.95)),
    line("between frames, p99", "ms", between(0.99)),
    line("late frames", "%", (side) => late(all(side, "frames")) * 100),
    line("long tasks", "", (side) => all(side, "longTasks").length),
    line("heap", "MB", ({ followed }) => middle(followed, "heap") / 1e6),
  ];
}

function aboutOf({ compared, pod, redraws, rounds, load }) {
  const runs = compared.flatMap(({ sides }) => Object.values(sides)).flatMap(({ followed }) => followed);
  const middle = (what) => median(runs.map((run) => run[what])).toFixed(1);
  const { version } = JSON.parse(readFileSync(join(uplot, "package.json"), "utf8"));
  const [{ model }] = cpus();
  const ratios = compared.map(({ title, sides: { page, uplot } }) => {
    const each = page.followed.map((run, round) => (median(run.redraws) / median(uplot.followed[round].redraws)).toFixed(2));
    return `${title} ${each.join(", ")}`;
  });
  return [
    `${pod.version}; Chromium ${compared[0].browser}, headless, without a graphics card; uPlot ${version}; ${cpus().length} × ${model.trim()}`,
    `\`just bench page --redraws ${redraws} --rounds ${rounds}\`: ${OPENINGS} openings and ${redraws} redraws a round, each visit in a new browser`,
    `24 h of two pairs at 10 s, 8,640 points each; ${middle("tickRate")} ticks and ${middle("redrawRate")} redraws a second`,
    "redraw: the time of the frame's callback and of the microtasks that it queues; main thread: the time of everything else too, such as pixels and tables",
    "the page also draws averages, gaps, marks and cards; uPlot draws two charts with axes, of the same size and colours",
    `ratio of the redraws by round (first, third … Tickwell first; second, fourth … uPlot first): ${ratios.join("; ")}`,
    `load of the machine before and after: ${load.map((value) => value.toFixed(1)).join(" and ")}`,
  ];
}

const { values, positionals: [binary] } = parseArgs({
  allowPositionals: true,
  options: { redraws: { type: "string", default: "200" }, rounds: { type: "string", default: "2" } },
});
const [redraws, rounds] = [Number(values.redraws), Number(values.rounds)];
if (!binary || !(redraws > 0) || !(rounds > 0)) throw new Error("bench page [--redraws N] [--rounds N]");

const load = [loadavg()[0]];
const folder = mkdtempSync(join(tmpdir(), "tickwell-page-"));
const peer = await serve();
let pod;
try {
  pod = await feed({ binary, folder, origin: peer.url });
  const compared = [];
  for (const size of SIZES) compared.push(await compare({ size, pod, peer, redraws, rounds }));
  load.push(loadavg()[0]);
  write(here("results"), {
    scenario: "page",
    other: "uPlot",
    commit: execFileSync("git", ["describe", "--always", "--dirty"], { cwd: here("."), encoding: "utf8" }).trim(),
    about: aboutOf({ compared, pod, redraws, rounds, load }),
    lines: compared.flatMap(linesOf),
  });
} finally {
  await pod?.stop();
  peer.close();
  rmSync(folder, { recursive: true });
}
