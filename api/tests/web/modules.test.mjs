// Tests that all modules of the page except app.js can be imported outside of a page.

import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "node:test";

const folder = new URL("../../web/", import.meta.url);

test("importing a module has no side effects", async () => {
    const modules = (await readdir(folder)).filter((name) => name.endsWith(".js") && name !== "app.js");
    for (const name of modules) {
        assert.ok(Object.keys(await import(new URL(name, folder))).length > 0, name);
    }
});
