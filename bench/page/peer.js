// Draws the page's prices with uPlot, in the same colours: two charts, each as large as one of the page's panels.

const DAY_MILLIS = 86_400_000;
const address = new URLSearchParams(location.hash.slice(1));
const [pod, width, height] = [address.get("pod"), Number(address.get("width")), Number(address.get("height"))];
const colours = address.get("colours").split(",");

const newest = (await (await fetch(`${pod}/v1/pairs`)).json()).items;
const charts = new Map();
await Promise.all(newest.map(async ({ pair, slot }, index) => {
  const from = Date.parse(slot) - DAY_MILLIS;
  const { items } = await (await fetch(`${pod}/v1/prices/${pair}/history?from=${from}&limit=10000`)).json();
  items.reverse();
  const data = [items.map(({ slot }) => Date.parse(slot) / 1_000), items.map(({ price }) => Number(price))];
  const options = {
    width,
    height: height / newest.length,
    legend: { show: false },
    series: [{}, { stroke: colours[index], width: 1.5, points: { show: false } }],
    axes: [{}, { side: 1, size: 64 }],
  };
  charts.set(pair, { data, plot: new uPlot(options, data, document.body) });
}));

let frame;
new EventSource(`${pod}/v1/stream`).addEventListener("tick", ({ data: text }) => {
  const { pair, slot, price } = JSON.parse(text);
  const [times, prices] = charts.get(pair).data;
  const time = Date.parse(slot) / 1_000;
  if (time <= times.at(-1)) return;
  times.push(time);
  prices.push(Number(price));
  for (const column of [times, prices]) column.shift();
  // Redraw both charts in one frame, as the page does.
  frame ??= requestAnimationFrame(() => {
    frame = undefined;
    for (const { data, plot } of charts.values()) plot.setData(data);
  });
});
