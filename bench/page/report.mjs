// The table, and the JSON beside it, as the other benchmarks write theirs.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** The value at a share of the way from the least to the most. */
export function at(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.round((sorted.length - 1) * share)];
}

export const median = (values) => at(values, 0.5);

const digits = (value) => value.toFixed(value >= 100 ? 0 : value >= 1 ? 2 : 4);

/** Prints the table, and keeps it with its JSON in a folder. */
export function write(folder, { scenario, other, commit, about, lines }) {
  const row = ({ name, unit, ours, other }) => `| ${name} | ${digits(ours)} ${unit} | ${digits(other)} ${unit} | ${other ? (ours / other).toFixed(2) : "–"} |`;
  const table = [
    `# ${scenario}`,
    "",
    ...about.map((fact) => `- ${fact}`),
    "",
    `| | Tickwell | ${other} | ratio |`,
    "|---|--:|--:|--:|",
    ...lines.map(row),
    "",
  ].join("\n");
  console.log(table);
  const json = {
    about,
    commit,
    lines: lines.map((line) => ({ name: line.name, ratio: line.ours / line.other, tickwell: line.ours, [other]: line.other, unit: line.unit })),
    scenario,
  };
  writeFileSync(join(folder, `${scenario}.md`), table);
  writeFileSync(join(folder, `${scenario}.json`), `${JSON.stringify(json, undefined, 2)}\n`);
}
