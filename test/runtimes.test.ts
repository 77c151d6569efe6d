import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { nativeRuntime } from "./support/native-runtime";

// `npm run test:runtimes` itself is not run here: it takes every runtime there is. This is about the runner.

const runner = join(import.meta.dirname, "runtimes", "run.mjs");
const own = { name: `node${process.versions.node.split(".")[0]}`, path: process.execPath };
/** Where `using` is native every program is run twice. */
const forms = "DisposableStack" in globalThis ? 2 : 1;
const SECONDS = 1000;

/** Runs these programs, on this very Node unless another one is named. */
async function conform(
  programs: Record<string, string>,
  { name, path } = own,
): Promise<{ code: number; output: string; report: unknown }> {
  const directory = mkdtempSync(join(tmpdir(), "lastref-programs-"));
  try {
    for (const [file, text] of Object.entries(programs)) writeFileSync(join(directory, file), text);
    const args = [runner, name, `--programs=${directory}`];
    const env = { ...process.env, [`LASTREF_${name.toUpperCase()}`]: path };
    return await new Promise((done) => {
      execFile(process.execPath, args, { env }, (error, stdout, stderr) =>
        done({ code: Number(error?.code ?? 0), output: stdout + stderr, report: stdout.trim().split("\n").at(-1) }),
      );
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const harness = 'import { check, done, equal } from "../harness.mjs";';

describe("the conformance runner", () => {
  it(
    "counts the checks of programs that load the packed package",
    async () => {
      const { code, output, report } = await conform({
        "one.mjs": `${harness} import { Handle } from "lastref";
          await check("a", () => equal(Handle.of("a", () => {}).decrRef(), true));
          await check("b", async () => equal(import.meta.resolve("lastref").includes("node_modules"), true));
          done();`,
        "other.mjs": '// needs: a-thing-nobody-has\nthrow new Error("it is never loaded");',
      });
      expect(output).toContain("other.mjs: not for this runtime, it has no a-thing-nobody-has");
      expect([code, report]).toEqual([0, `${2 * forms} checks passed, 0 failed, on 1 runtimes`]);
    },
    60 * SECONDS,
  );

  it(
    "fails for a failing check, for a program that does not load, and for one that checks nothing",
    async () => {
      const { code, output, report } = await conform({
        "fails.mjs": `${harness}
          await check("two", () => equal(1, 2));
          await check("three", () => equal(1, 3));
          await check("one", () => equal(1, 1));
          done();`,
        "missing.mjs": 'import "lastref/no-such-entry";',
        "silent.mjs": 'import "lastref";',
      });
      for (const reason of ["FAILED: two", 'expected "2", received "1"', "ERR_PACKAGE_PATH_NOT_EXPORTED"]) {
        expect(output).toContain(reason);
      }
      expect(output).toContain("silent.mjs: FAILED");
      expect([code, report]).toEqual([1, `0 checks passed, ${4 * forms} failed, on 1 runtimes`]);
    },
    60 * SECONDS,
  );

  it.runIf(nativeRuntime)(
    "runs a program with helpers for `using`, and as it stands where that is native",
    async () => {
      const program = `${harness}
        const body = () => { using nothing = null; return nothing; };
        await check("it works", () => equal(body(), null));
        await check("it was compiled", () => equal(String(body).includes("using nothing"), false));
        done();`;
      const { code, output } = await conform(
        { "forms.mjs": program },
        { name: "node26", path: nativeRuntime as string },
      );
      expect(output).toContain("forms.mjs: 2 passed");
      expect(output).toContain("forms.mjs with native using: FAILED");
      expect(output).toContain("FAILED: it was compiled");
      expect(code).toBe(1);
    },
    60 * SECONDS,
  );
});
