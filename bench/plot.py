"""Draws how much CPU time a request costs, as an SVG that can be read on light and dark pages."""

import math
from html import escape

WIDTH, LABELS, ROW, BAR = 860, 330, 26, 16
STYLE = """
  svg { color-scheme: light dark }
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .page { fill: #ffffff } .grid { stroke: #d1d9e0 } .head { font-weight: 600 } .note { fill: #59636e }
  .other { fill: #818b98 } .computed { fill: #bc4c00 } .kept { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .page { fill: #0d1117 } .grid { stroke: #3d444d } .note { fill: #9198a1 }
    .other { fill: #9198a1 } .computed { fill: #db6d28 } .kept { fill: #4493f8 }
  }"""


def draw(title, groups, legend):
    """`groups` are headings with bars: each a label, a number of microseconds, and a class of STYLE."""
    values = [value for _, bars in groups for _, value, _ in bars]
    low, high = 10 ** math.floor(math.log10(min(values))), max(values) * 4
    scale = (WIDTH - LABELS - 20) / math.log10(high / low)
    place = lambda value: LABELS + scale * math.log10(value / low)
    parts, y = [], 70
    for heading, bars in groups:
        parts.append(f'<text class="head" x="16" y="{y}">{escape(heading)}</text>')
        y += 12
        for label, value, kind in bars:
            end = place(value)
            parts.append(f'<text x="{LABELS - 8}" y="{y + BAR - 3}" text-anchor="end">{escape(label)}</text>')
            parts.append(f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{end - LABELS:.1f}" height="{BAR}" rx="2"/>')
            parts.append(f'<text x="{end + 6:.1f}" y="{y + BAR - 3}">{value:,.0f} µs</text>')
            y += ROW
        y += 24
    bottom = y - 24
    grid = []
    for power in range(round(math.log10(low)), math.floor(math.log10(high)) + 1):
        x = place(10**power)
        grid.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="56" y2="{bottom}"/>')
        grid.append(f'<text class="note" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{10**power:,} µs</text>')
    x, key = 16, []
    for kind, label in legend:
        key.append(f'<rect class="{kind}" x="{x}" y="{bottom + 32}" width="12" height="12" rx="2"/>')
        key.append(f'<text x="{x + 18}" y="{bottom + 43}">{escape(label)}</text>')
        x += 42 + 7 * len(label)
    height = bottom + 58
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}\n</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        f'<text class="head" x="16" y="28" font-size="15">{escape(title)}</text>',
        *grid, *parts, *key, "</svg>\n",
    ])
