// Which of the page's modules can be tested without a page: all but the one that makes it.

import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "node:test";

const folder = new URL("../../web/", import.meta.url);

test("a module does nothing until it is asked to", async () => {
    const modules = (await readdir(folder)).filter((name) => name.endsWith(".js") && name !== "app.js");
    for (const name of modules) {
        assert.ok(Object.keys(await import(new URL(name, folder))).length > 0, name);
    }
});
