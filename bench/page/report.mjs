// Writes the results as a table and as JSON, in the same format as the other benchmarks.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** A quantile: `share` is 0 for the smallest value, and 1 for the largest. */
export function at(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.round((sorted.length - 1) * share)];
}

export const median = (values) => at(values, 0.5);

const digits = (value) => value.toFixed(value >= 100 ? 0 : value >= 1 ? 2 : 4);

/** Prints the table, and writes it and the JSON to a directory. */
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
