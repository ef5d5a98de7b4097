// Clicks "Try it out" and "Execute" for every operation of /docs, with its example values. Prints the results as JSON:
//   node swagger_ui.mjs http://127.0.0.1:8080

import { open } from "./browser.mjs";

const { page, problems, close } = await open(`${process.argv[2]}/docs`);
const tried = [];
let padlocks;
try {
  const operations = page.locator(".opblock");
  await operations.first().waitFor();
  padlocks = await page.locator(".authorization__btn, .auth-wrapper .authorize").count();
  for (const operation of await operations.all()) {
    const summary = operation.locator(".opblock-summary-control");
    await summary.click();
    await operation.locator(".try-out__btn").click();
    // The optional parameters that are filled in.
    const optional = operation.locator("tr[data-param-name]:not(:has(.parameter__name.required))");
    const filledIn = await optional.evaluateAll((rows) =>
      rows
        .filter((row) => row.querySelector("input, select, textarea")?.value)
        .map((row) => row.dataset.paramName));
    const answered = page.waitForResponse(() => true);
    await operation.locator(".execute").click();
    const answer = await answered;
    // Swagger UI shows a response only when it is complete, and a stream never ends.
    const isStream = /event-stream|ndjson/.test(answer.headers()["content-type"] ?? "");
    const shown = operation.locator(".live-responses-table .response .response-col_status").first();
    // Try each media type if there are several, except for streams.
    const choice = operation.locator(".response-control-media-type--accept-controller select").first();
    const chosen = [];
    for (const type of !isStream && (await choice.count()) ? await choice.locator("option").allInnerTexts() : []) {
      await choice.selectOption(type);
      const again = page.waitForResponse(() => true);
      await operation.locator(".execute").click();
      chosen.push([type, (await again).headers()["content-type"]]);
    }
    tried.push({
      chosen,
      filledIn,
      path: await operation.locator(".opblock-summary-path").getAttribute("data-path"),
      asked: answer.url(),
      status: answer.status(),
      shown: isStream ? answer.status() : Number.parseInt(await shown.innerText(), 10),
    });
    // Close the operation again, because long responses make the page slow.
    await summary.click();
  }
} finally {
  await close();
}
console.log(JSON.stringify({ tried, padlocks, problems }));
