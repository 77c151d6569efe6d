import { spawnSync } from "node:child_process";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Packed, packed } from "../support/consumer";

// Suites of a user's own, in a project of theirs that has installed the package.

const bin = (path: string): string => join(import.meta.dirname, "../../node_modules", path);

let library: Packed;
let project: string;

beforeAll(() => {
  library = packed();
  project = library.project("module", {}, ["vitest", "jest"]);
  for (const runner of ["vitest", "node", "jest"]) {
    cpSync(join(import.meta.dirname, runner), join(project, runner), { recursive: true });
  }
}, 60_000);

afterAll(() => library[Symbol.dispose]());

interface Outcome {
  readonly name: string;
  readonly passed: boolean;
  /** What was printed of its failure, all of it. */
  readonly message: string;
}

const base = { NO_COLOR: "1", FORCE_COLOR: "0", NODE_OPTIONS: "", NODE_TEST_CONTEXT: undefined };

function spawn(args: readonly string[], cwd: string, more: Record<string, string> = {}) {
  const env = { ...process.env, ...base, ...more };
  return spawnSync(process.execPath, args, { cwd: join(project, cwd), encoding: "utf8", env });
}

function run(args: readonly string[], cwd: string, more: Record<string, string> = {}): string {
  return spawn(args, cwd, more).stdout;
}

interface JsonReport {
  readonly testResults: readonly {
    readonly assertionResults: readonly { title: string; status: string; failureMessages: string[] }[];
  }[];
}

function fromJson(stdout: string): Outcome[] {
  const report = JSON.parse(stdout.slice(stdout.indexOf("{"))) as JsonReport;
  return report.testResults.flatMap(({ assertionResults }) =>
    assertionResults.map(({ title, status, failureMessages }) => ({
      name: title,
      passed: status === "passed",
      message: failureMessages.join("\n"),
    })),
  );
}

function fromTap(stdout: string): Outcome[] {
  return stdout
    .split(/^\s*# Subtest: /m)
    .slice(1)
    .map((part) => {
      const name = part.slice(0, part.indexOf("\n"));
      return { name, passed: !/^\s*not ok /m.test(part), message: part };
    });
}

const suites: [string, () => Outcome[]][] = [
  ...["forks", "threads", "vmThreads", "vmForks"].map((pool): [string, () => Outcome[]] => [
    `vitest (${pool})`,
    () =>
      fromJson(
        run([bin("vitest/vitest.mjs"), "run", `--pool=${pool}`, "--reporter=json", "leaks.suite.mjs"], "vitest"),
      ),
  ]),
  ["node:test", () => fromTap(run(["--test-reporter=tap", "leaks.suite.mjs"], "node"))],
  ["Jest", () => fromJson(run([bin("jest/bin/jest.js"), "--json", "leaks.suite.js"], "jest"))],
];

describe.each(suites)("a suite in %s", (_, outcomesOf) => {
  it("fails where it leaks, passes where it is clean, and keeps a test's own error", { timeout: 60_000 }, () => {
    const outcomes = outcomesOf();
    const named = (prefix: string): Outcome[] => outcomes.filter(({ name }) => name.startsWith(prefix));
    expect(named("clean").map(({ name, passed }) => [name, passed])).toEqual(
      named("clean").map(({ name }) => [name, true]),
    );
    expect(named("clean").length).toBeGreaterThanOrEqual(4);
    expect(named("guilty").length).toBeGreaterThanOrEqual(1);
    for (const { name, passed, message } of named("guilty")) {
      expect([name, passed]).toEqual([name, false]);
      // Nothing reaches it any more: a collection between the body and the check calls it dropped.
      expect(message).toMatch(/(held|dropped) {2}key/);
      expect(message).toContain("leaks.suite.");
    }
    const [failing] = named("failing");
    expect(failing?.passed).toBe(false);
    expect(failing?.message).toMatch(/own error/);
    const leak = failing?.message.indexOf("Leaks found") ?? -1;
    if (leak >= 0) expect(failing?.message.indexOf("own error")).toBeLessThan(leak);
  });
});

describe("a handle that is opened in vitest after its test has ended", () => {
  it("fails the file, and no other test", { timeout: 60_000 }, () => {
    const stdout = run([bin("vitest/vitest.mjs"), "run", "--reporter=json", "late.suite.mjs"], "vitest");
    expect(fromJson(stdout).map(({ passed }) => passed)).toEqual([true, true, true]);
    expect(JSON.parse(stdout.slice(stdout.indexOf("{"))).success).toBe(false);
    // That reporter has the first error of a file only.
    const { stderr } = spawn([bin("vitest/vitest.mjs"), "run", "late.suite.mjs"], "vitest");
    expect(stderr).toContain(`opened after test "clean, but a late callback of it opens a handle" had ended`);
    expect(stderr).toContain("opened after a body of withoutLeaks() had ended");
  });
});

describe("a server that was started before the tests, in vitest", () => {
  it.each([
    ["forgotten", false],
    ["paid", true],
  ])("is found by the file when it leaves a handle open: /%s", { timeout: 60_000 }, (asked, success) => {
    const args = [bin("vitest/vitest.mjs"), "run", "--reporter=json", "server.suite.mjs"];
    const stdout = run(args, "vitest", { PATH_ASKED: asked });
    expect(fromJson(stdout).map(({ passed }) => passed)).toEqual([true, true]);
    expect(JSON.parse(stdout.slice(stdout.indexOf("{"))).success).toBe(success);
    const leaks = [...stdout.matchAll(/(?:held|dropped) {2}key \\"(.*?)\\"/g)].map(([, label]) => label);
    expect(leaks).toEqual(success ? [] : ["/forgotten"]);
    if (!success) expect(stdout).toContain("Leaks found: opened while the tests ran, in none of them");
  });
});

describe("leakGuard() in vitest, which runs the hooks of a file in reverse", () => {
  it("checks after them all, and names the test", { timeout: 60_000 }, () => {
    const args = ["run", "--config=guard.config.mjs", "--reporter=json", "guard.suite.mjs"];
    const outcomes = fromJson(run([bin("vitest/vitest.mjs"), ...args], "vitest"));
    expect(outcomes.map(({ name, passed }) => [name, passed])).toEqual([
      ["clean: closed by a hook above the guard", true],
      ["clean: closed by a hook below the guard", true],
      ["guilty: forgets a handle", false],
      ["clean: with a fixture", true],
      ["guilty: forgets one beside its fixture", false],
    ]);
    for (const { name, message } of outcomes.filter(({ passed }) => !passed)) {
      expect(message).toContain(`Leaks found after test "${name}" had ended`);
    }
  });
});

describe("leakGuard() above the file's own hooks in Jest", () => {
  it("checks before them and after those of a describe, as its documentation says", { timeout: 60_000 }, () => {
    const outcomes = fromJson(run([bin("jest/bin/jest.js"), "--json", "order.suite.js"], "jest"));
    expect(outcomes.map(({ name, passed }) => [name, passed])).toEqual([
      ["accused: cleans up in a later afterEach", false],
      ["clean: cleans up in the afterEach of its describe", true],
    ]);
  });
});

describe("a mock that Jest makes of the package", () => {
  it("has everything in it", { timeout: 60_000 }, () => {
    const [outcome] = fromJson(run([bin("jest/bin/jest.js"), "--json", "mock.suite.js"], "jest"));
    expect(outcome).toMatchObject({ passed: true, message: "" });
  });
});

describe("a suite in Jest whose timers are fake from the start", () => {
  it("is checked in real time", { timeout: 60_000 }, () => {
    const args = [
      "--expose-gc",
      bin("jest/bin/jest.js"),
      "--config=timers.config.json",
      "--testTimeout=2000",
      "--json",
    ];
    const outcomes = fromJson(run(args, "jest"));
    expect(outcomes.length).toBe(7);
    for (const { name, passed, message } of outcomes) {
      expect([name, passed]).toEqual([name, name.startsWith("clean")]);
      if (!passed) expect(message).toContain("Leaks found");
    }
  });
});
