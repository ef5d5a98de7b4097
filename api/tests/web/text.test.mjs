// Tests how numbers and times are formatted, compared with integers and the platform's calendar.

import assert from "node:assert/strict";
import { test } from "node:test";

import { always } from "./random.mjs";
import {
  DAY, change, clock, date, grouped, milliseconds, moment, percent, places, span,
} from "../../web/text.js";

/** More decimal places than a price of the log can have. */
const SCALE = 15;
const MINUS = "−";

/** Any price that the log may have, with up to twelve decimal places. */
function price(random) {
  const whole = random.chance(0.3) ? "0" : `${random.whole(1, 9)}${random.digits(random.whole(0, 11))}`;
  const decimals = random.whole(0, 12);
  const zeros = random.chance(0.3) ? random.whole(0, Math.max(0, decimals - 1)) : 0;
  const fraction = "0".repeat(zeros) + random.digits(decimals - zeros);
  if (!Number(whole) && !Number(fraction)) return "0.00001234";
  return decimals ? `${whole}.${fraction}` : whole;
}

/** A decimal, without its commas, as an integer in units of the fifteenth decimal place. */
function units(decimal) {
  const [whole, fraction = ""] = decimal.replaceAll(",", "").split(".");
  return BigInt(whole + fraction.padEnd(SCALE, "0"));
}

test("digits are grouped by three and do not change", async () => {
  assert.equal(grouped("97012.30"), "97,012.30");
  assert.equal(grouped("999"), "999");
  assert.equal(grouped("1000"), "1,000");
  assert.equal(grouped("1234567890.1234567"), "1,234,567,890.1234567");
  assert.equal(grouped("0.00001234"), "0.00001234");
  await always((random) => {
    const decimal = price(random);
    const [whole, fraction] = decimal.split(".");
    const expected = new Intl.NumberFormat("en-US").format(BigInt(whole)) + (fraction ? `.${fraction}` : "");
    assert.equal(grouped(decimal), expected);
  });
});

test("places counts the digits after the decimal point", async () => {
  assert.equal(places("97012"), 0);
  assert.equal(places("97012.30"), 2);
  assert.equal(places("0.000012340000"), 12);
  await always((random) => {
    const count = random.whole(1, 12);
    assert.equal(places(`${random.whole(0, 100_000)}.${random.digits(count)}`), count);
  });
});

test("a ratio becomes a percentage with its sign, and zero has no sign", async () => {
  assert.equal(percent(-0.00031245), `${MINUS}0.03 %`);
  assert.equal(percent(0.5), "+50.00 %");
  for (const nothing of [0, -0, 0.00004, -0.00004]) assert.equal(percent(nothing), "0.00 %");
  assert.equal(percent(-0.00004, 3), `${MINUS}0.004 %`);
  assert.equal(percent(-0.004, 0), "0 %");
  await always((random) => {
    const ratio = random.magnitude(1e-9, 1e3) * random.pick([1, -1]);
    const digits = random.whole(0, 4);
    const [, sign, number, fraction = ""] = /^([+−]?)(\d+(?:\.(\d+))?) %$/.exec(percent(ratio, digits));
    assert.equal(fraction.length, digits);
    assert.equal(sign, Number(number) === 0 ? "" : ratio > 0 ? "+" : MINUS, `${ratio}`);
    assert.ok(Math.abs(Number(number) - Math.abs(ratio) * 100) <= 0.5 * 10 ** -digits + 1e-9, `${ratio}: ${number}`);
  });
});

test("a change is exact to the last digit", () => {
  const cases = [
    ["97012.30", "95808.20", "down", `${MINUS}1,204.10`, `${MINUS}1.24 %`],
    ["9.99", "10.00", "up", "+0.01", "+0.10 %"],
    ["10.00", "9.99", "down", `${MINUS}0.01`, `${MINUS}0.10 %`],
    ["9.9", "10", "up", "+0.1", "+1.01 %"],
    ["10", "10.00", "same", "0.00", "0.00 %"],
    ["97012.30", "97012.30", "same", "0.00", "0.00 %"],
    ["5", "5", "same", "0", "0.00 %"],
    ["97012.30", "97012.29", "down", `${MINUS}0.01`, "0.00 %"],
    ["0.00001234", "0.00001235", "up", "+0.00000001", "+0.08 %"],
    ["0.000000000001", "1000000", "up", "+999,999.999999999999"],
    ["123456789012345.01", "123456789012345.02", "up", "+0.01", "0.00 %"],
    // Floating-point numbers would give 0.020000000004.
    ["0.1", "0.120000000001", "up", "+0.020000000001", "+20.00 %"],
  ];
  for (const [earlier, later, direction, amount, ratio] of cases) {
    const found = change(earlier, later);
    assert.deepEqual(found, { direction, amount, percent: ratio ?? found.percent }, `${earlier} to ${later}`);
  }
});

test("a change equals the difference of integers", async () => {
  await always((random) => {
    const earlier = price(random);
    const later = random.chance(0.1) ? earlier : price(random);
    const { direction, amount, percent: ratio } = change(earlier, later, 3);
    const difference = units(later) - units(earlier);
    const context = `${earlier} to ${later}: ${amount}, ${ratio}`;

    const sign = difference > 0n ? "+" : difference < 0n ? MINUS : "";
    const unsigned = amount.replace(/^[+−]/, "");
    assert.equal(direction, { "+": "up", [MINUS]: "down", "": "same" }[sign], context);
    assert.equal(amount, sign + unsigned, context);
    assert.equal(units(unsigned), difference < 0n ? -difference : difference, context);
    assert.equal(places(unsigned), Math.max(places(earlier), places(later)), context);
    assert.equal(unsigned, grouped(unsigned.replaceAll(",", "")), context);

    const exact = Number(difference) / Number(units(earlier)) * 100;
    const number = Number(ratio.replace(MINUS, "-").replace(" %", ""));
    assert.ok(Math.abs(number - exact) <= 0.0005 + 1e-9 + Math.abs(exact) * 1e-12, context);
    assert.ok(number === 0 ? ratio === "0.000 %" : ratio.startsWith(sign), context);
  });
});

test("a duration becomes milliseconds, and other text becomes NaN", () => {
  const durations = { "1ms": 1, "250ms": 250, "10s": 10_000, "1m": 60_000, "4h": 14_400_000, "365d": 365 * DAY };
  for (const [text, expected] of Object.entries(durations)) assert.equal(milliseconds(text), expected, text);
  const others = ["", "0s", "-1s", "01s", "1.5s", "10", "s", "10 s", "1w", "1M", "10s ", "1s1s", "NaNms", undefined];
  for (const other of others) assert.ok(Number.isNaN(milliseconds(other)), `${other}`);
});

test("a span shows its two largest units", async () => {
  const [minute, hour] = [60_000, 3_600_000];
  const cases = [
    [-5_000, "0 s"], [0, "0 s"], [999, "0 s"], [1_000, "1 s"], [59_999, "59 s"],
    [minute, "1 min"], [minute + 999, "1 min"], [minute + 1_000, "1 min 1 s"], [hour - 1, "59 min 59 s"],
    [hour, "1 h"], [hour + minute - 1, "1 h"], [hour + minute, "1 h 1 min"], [DAY - 1, "23 h 59 min"],
    [DAY, "1 d"], [DAY + hour - 1, "1 d"], [DAY + hour, "1 d 1 h"], [365 * DAY, "365 d"], [1_000 * DAY, "1000 d"],
  ];
  for (const [length, expected] of cases) assert.equal(span(length), expected, `${length}`);

  const sizes = { d: DAY, h: hour, min: minute, s: 1_000 };
  const order = Object.keys(sizes);
  await always((random) => {
    const length = Math.floor(random.magnitude(1_000, 1_000 * DAY));
    const parts = [...span(length).matchAll(/(\d+) (\w+)/g)];
    assert.equal(parts.map(([part]) => part).join(" "), span(length));
    const rest = length - parts.reduce((sum, [, count, unit]) => sum + count * sizes[unit], 0);
    const second = order[order.indexOf(parts[0][2]) + 1] ?? "s";
    assert.ok(rest >= 0 && rest < sizes[second], `${length}: ${span(length)}`);
    assert.ok(parts.length === 1 || parts[1][2] === second, `${length}: ${span(length)}`);
    assert.ok(parts.every(([, count]) => Number(count) > 0), `${length}: ${span(length)}`);
  });
});

test("times are UTC", async () => {
  const leap = Date.UTC(2024, 1, 29, 23, 59, 59, 999);
  assert.equal(moment(leap), "2024-02-29 23:59:59");
  assert.equal(clock(leap), "23:59:59");
  assert.equal(clock(leap, 16), "23:59");
  assert.equal(date(leap), "29 Feb");
  assert.equal(date(leap + 1), "1 Mar");
  assert.equal(moment(leap + 0.5), "2024-02-29 23:59:59");

  const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const two = (number) => `${number}`.padStart(2, "0");
  await always((random) => {
    const time = random.whole(Date.UTC(2010), Date.UTC(2040));
    const at = new Date(time);
    const [year, month, day] = [at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate()];
    const expected = [at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()].map(two).join(":");
    assert.equal(clock(time), expected);
    assert.equal(moment(time), `${year}-${two(month + 1)}-${two(day)} ${expected}`);
    // Some versions of the platform abbreviate September with four letters.
    assert.equal(date(time).replace("Sept", "Sep"), `${day} ${months[month]}`);
  });
});
