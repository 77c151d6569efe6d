import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { costTable, withCosts } from "../bench/costs.mjs";
import { brokenIn, linkedFrom } from "./support/links";

// What the pages say of each other. What they say of the code is checked in snippets.test.ts.

const root = join(import.meta.dirname, "..");
const read = (file: string): string => readFileSync(join(root, file), "utf8");

const pages = [
  ...readdirSync(root).filter((file) => file.endsWith(".md")),
  ...readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".md"))
    .map((file) => `src/${file}`),
];

describe("the pages", () => {
  it("link to what there is", () => {
    expect(pages.flatMap((page) => brokenIn(page, root))).toEqual([]);
  });

  it("can all be reached from the README", () => {
    const chapters = pages.filter((page) => page.startsWith("src/"));
    expect(linkedFrom("README.md", root)).toEqual(expect.arrayContaining(chapters));
    expect(chapters.length).toBeGreaterThan(4);
  });

  it("are said to be broken where they are", () => {
    const at = mkdtempSync(join(tmpdir(), "lastref-links-"));
    writeFileSync(
      join(at, "a.md"),
      "# A `b`, c\n[own](#a-b-c) [no](#a-b) [gone](b.md)\n[away](https://a.b) `[code](x.md)`\n",
    );
    expect(brokenIn("a.md", at)).toEqual(["a.md:2: a.md has no heading #a-b", "a.md:2: there is no b.md"]);
    rmSync(at, { recursive: true });
  });
});

describe("the order of the core in CONTRIBUTING.md", () => {
  const [, listed = ""] =
    /only from files above it in this list:\n([\s\S]*?)\n +The core/.exec(read("CONTRIBUTING.md")) ?? [];
  const order = listed.trim().split(/,\s+/);

  it("names every file once", () => {
    const core = readdirSync(join(root, "src")).flatMap((file) => /^([\w-]+)\.ts$/.exec(file)?.[1] ?? []);
    expect(order.toSorted()).toEqual(core.filter((name) => name !== "index" && name !== "register").sort());
  });

  it("has what a file imports above it", () => {
    const below = order.flatMap((name, at) =>
      [...read(`src/${name}.ts`).matchAll(/^[^*\n]* from "(.*)"/gm)]
        .map(([, from = ""]) => from)
        .filter((from) => !order.slice(0, at).includes(from.replace("./", "")))
        .map((from) => `${name} imports ${from}`),
    );
    expect(below).toEqual([]);
  });
});

describe("the costs in README.md", () => {
  it("are those of bench/RESULTS.md (node bench/costs.mjs refreshes them)", () => {
    expect(read("README.md")).toBe(withCosts(read("README.md"), read("bench/RESULTS.md")));
  });

  it("are one row per comparison, wins and losses alike, with a column per runtime", () => {
    const row = (question: string, value: string, against: string, verdict: string): string =>
      `${question.padEnd(44)} ${value} x ${against.padEnd(42)} ${verdict}`;
    const results = [
      "The core (Node 20.20.2, x64, medians; a ratio is ours / theirs)",
      row("open + free", "    10.4 ns      1.78", "by hand", "at most 2.00  ok"),
      row("bytes of a live handle", "    54.7 bytes   0.34", "160 bytes", "at most 1.00  ok"),
      "The core (Node 26.10.0, x64, medians; a ratio is ours / theirs)",
      row("open + free", "     0.9 ns      2.10", "by hand", "at most 2.00  FALLS SHORT"),
      "Something else (Node 26.10.0, x64, medians; a ratio is ours / theirs)",
      row("open + free", "     0.9 ns      2.10", "by hand", "a loss"),
    ];
    expect(costTable(results.join("\n")).split("\n")).toEqual([
      "| work | Node 20 | Node 26 | beside |",
      "| --- | --- | --- | --- |",
      "| open + free | 10 ns, 1.78 x | 0.9 ns, 2.10 x | by hand |",
      "| a live handle | 55 bytes |  |  |",
    ]);
  });
});
