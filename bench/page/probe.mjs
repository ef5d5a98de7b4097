// Functions that run in a visited page before the page's own scripts. They are sent to the browser as text, so they
// cannot use anything that is defined outside of them.

/** Measures the times of redraws, frames and long tasks. */
export function probe() {
  const probed = (window.probed = { redraws: [], frames: [], longTasks: [] });
  probed.begin = () => Object.assign(probed, { redraws: [], frames: [], longTasks: [] });

  const request = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (redraw) =>
    request((time) => {
      const began = performance.now();
      redraw(time);
      // uPlot draws in a microtask, which is already in the queue. This microtask runs after that, so the measured time
      // includes the drawing.
      queueMicrotask(() => probed.redraws.push(performance.now() - began));
    });

  let before;
  const beat = (time) => {
    if (before) probed.frames.push(time - before);
    before = time;
    request(beat);
  };
  request(beat);

  const keep = (list) => probed.longTasks.push(...list.getEntries().map(({ duration }) => duration));
  new PerformanceObserver(keep).observe({ type: "longtask" });

  /** For each colour, the share of the canvas's columns that contain it. Averages are fainter and do not count. */
  probed.covered = (colours) => {
    const parts = colours.map((colour) => [1, 3, 5].map((place) => Number.parseInt(colour.slice(place, place + 2), 16)));
    const columns = parts.map(() => new Set());
    const canvases = [...document.querySelectorAll("canvas")].filter(({ width, height }) => width && height);
    for (const canvas of canvases) {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      for (let at = 0; at < data.length; at += 4) {
        if (data[at + 3] < 180) continue;
        const index = parts.findIndex((colour) => colour.every((part, channel) => Math.abs(part - data[at + channel]) < 24));
        if (index >= 0) columns[index].add((at / 4) % canvas.width);
      }
    }
    return columns.map(({ size }) => size / Math.max(...canvases.map(({ width }) => width)));
  };
}

/** Records the time at which all lines cover at least the share `least` of the width for the first time. */
export function probeDrawing({ colours, least }) {
  const look = () => {
    if (window.probed.covered(colours).every((share) => share >= least)) window.probed.drawn = performance.now();
    else setTimeout(look, 10);
  };
  document.addEventListener("DOMContentLoaded", look);
}
