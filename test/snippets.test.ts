import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Extract, fromMarkdown, fromSource, type Snippet } from "./snippets/extract";
import { bundleAll, type Programs } from "./snippets/run";
import { typeErrors } from "./snippets/types";

const root = join(import.meta.dirname, "..");

function documentation(): Extract {
  const read = (file: string): string => readFileSync(join(root, file), "utf8");
  const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).sort();
  const extracts = [
    fromMarkdown("README.md", read("README.md")),
    ...files.filter((file) => file.endsWith(".md")).map((file) => fromMarkdown(`src/${file}`, read(join("src", file)))),
    ...files.filter((file) => file.endsWith(".ts")).map((file) => fromSource(`src/${file}`, read(join("src", file)))),
  ];
  return {
    snippets: extracts.flatMap(({ snippets }) => snippets),
    loose: extracts.flatMap(({ loose }) => loose),
  };
}

/** Runs the checks on snippets and says what was found wrong with each. */
async function wrongWith(snippets: readonly Snippet[]): Promise<string[][]> {
  using programs = await bundleAll(snippets);
  const types = typeErrors(snippets);
  const found: string[][] = [];
  for (const [i, { run }] of snippets.entries()) {
    found.push([...(types[i] ?? []), ...(run ? await programs.run(i) : [])]);
  }
  return found;
}

describe("the documentation", () => {
  const { snippets, loose } = documentation();
  let programs: Programs;
  let types: string[][];

  beforeAll(async () => {
    programs = await bundleAll(snippets);
    types = typeErrors(snippets);
  }, 60_000);

  afterAll(() => programs[Symbol.dispose]());

  it("has only blocks that are checked", () => {
    expect(loose).toEqual([]);
  });

  for (const [i, snippet] of snippets.entries()) {
    it(`tells the truth at ${snippet.where}`, async () => {
      expect(types[i]).toEqual([]);
      if (snippet.run) expect(await programs.run(i)).toEqual([]);
    });
  }
});

describe("the check of the documentation", () => {
  const markdown = (...lines: string[]): Extract => fromMarkdown("doc.md", lines.join("\n"));

  it("accepts what is true", async () => {
    const { snippets, loose } = markdown(
      "```ts",
      'const key = Handle.of("a", () => {});',
      'const other: Handle<string> = key.dup("other");',
      "console.log(key.refCount); // 2",
      "other.decrRef(); // false: the first holder has it still",
      "key.decrRef(); // true",
      "key.decrRef(); // throws RefCountError",
      "key.value; // throws UseAfterFreeError: Cannot read resource: it was freed",
      'await Promise.reject(new RangeError("no")); // throws RangeError: no',
      "```",
      "",
      "```ts",
      'import { setTimeout as wait } from "node:timers/promises";',
      "for (const n of [1, 2]) console.log(n);",
      "await wait(1);",
      'throw new RangeError("at last");',
      "```",
      "",
      "```text",
      "1",
      "...",
      "RangeError: at ...",
      "```",
      "```ts no-run",
      'throw new Error("this is only type-checked");',
      "```",
    );
    expect(loose).toEqual([]);
    expect(await wrongWith(snippets)).toEqual([[], [], []]);
  });

  it("refuses what is false, and says where and why", async () => {
    const { snippets } = markdown(
      ...["```ts", 'const n: number = "a";', "```"],
      ...["```ts", "console.log(1 + 1); // 3", "```"],
      ...["```ts", "if (Math.random() > 2) console.log(1); // 1", "```"],
      ...["```ts", 'Handle.of("a", () => {}).decrRef(); // false', "```"],
      ...["```ts", 'Handle.of("a", () => {}).decrRef(); // throws RefCountError', "```"],
      ...["```ts", 'throw new Error("unannounced");', "```"],
      ...["```ts", "console.log(1);", "```", "```text", "1", "2", "```"],
      ...["```ts", "noSuchName();", "```"],
    );
    const found = await wrongWith(snippets);
    expect(found).toEqual([
      ["line 1: Type 'string' is not assignable to type 'number'."],
      ["line 1 claims: 3, and it is: 2"],
      ["line 1 is never run, and claims: 1"],
      ["line 1 claims: false, and it is: true"],
      ["line 1 claims: RefCountError, and it is: nothing thrown"],
      [expect.stringContaining("ends with Error: unannounced")],
      ["claims to print:\n1\n2\nand prints:\n1\n"],
      [
        "line 1: Cannot find name 'noSuchName'.",
        expect.stringContaining("ends with ReferenceError: noSuchName is not defined"),
      ],
    ]);
  });

  it("finds the blocks of doc comments, and an @example without one", () => {
    const code = [
      "/**",
      " * Does it.",
      " *",
      " * @example Once",
      " * ```ts",
      " * console.log(1); // 1",
      " * ```",
      " */",
      "export const a = 1;",
      "  /**",
      "   * @example a()",
      "   */",
    ].join("\n");
    expect(fromSource("a.ts", code)).toEqual({
      snippets: [{ where: "a.ts:6", code: "console.log(1); // 1", output: undefined, run: true }],
      loose: [{ where: "a.ts:11", problem: "an @example without a block marked ts" }],
    });
  });

  it("finds an output that belongs to no program", () => {
    const unran = ["```ts no-run", "let a = 1;", "```", "```text", "1", "```"];
    expect(markdown("```text", "1", "```", ...unran, "```", "1", "```").loose).toEqual([
      { where: "doc.md:2", problem: "a block marked text that is no program's output" },
      { where: "doc.md:8", problem: "a block marked text that is no program's output" },
      { where: "doc.md:11", problem: "a block that does not say what it is" },
    ]);
  });
});
