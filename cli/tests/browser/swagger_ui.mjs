// Tries every operation of /docs, as it is filled in there: "Try it out", "Execute". Prints what came, as JSON:
//   node swagger_ui.mjs http://127.0.0.1:8080

import { open } from "./browser.mjs";

const { page, problems, close } = await open(`${process.argv[2]}/docs`);
const tried = [];
try {
  const operations = page.locator(".opblock");
  await operations.first().waitFor();
  for (const operation of await operations.all()) {
    await operation.locator(".opblock-summary-control").click();
    await operation.locator(".try-out__btn").click();
    await operation.locator(".execute").click();
    const answered = operation.locator(".live-responses-table .response-col_status").first();
    await answered.waitFor();
    tried.push({
      operation: await operation.locator(".opblock-summary-path").getAttribute("data-path"),
      asked: await operation.locator(".request-url pre").innerText(),
      status: Number.parseInt(await answered.innerText(), 10),
    });
    // What was answered can be long; the next one is found sooner without it.
    await operation.locator(".opblock-summary-control").click();
  }
} finally {
  await close();
}
console.log(JSON.stringify({ tried, problems }));
