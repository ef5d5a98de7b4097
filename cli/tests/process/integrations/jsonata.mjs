// Prints what a JSONata expression makes of a file of JSON: node jsonata.mjs EXPRESSION FILE

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const jsonata = createRequire(new URL("../../../../.tools/node/", import.meta.url))("jsonata");
const [expression, file] = process.argv.slice(2);
console.log(JSON.stringify(await jsonata(expression).evaluate(JSON.parse(readFileSync(file, "utf8")))));
