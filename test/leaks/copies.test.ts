import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";

/** Runs a program that has the ESM and the CJS copy loaded. */
function run(code: string): string {
  const source = `
    import { createRequire } from "node:module";
    import * as esm from "./dist/index.js";
    import * as esmLeaks from "./dist/leaks.js";
    const require = createRequire(process.cwd() + "/");
    const cjs = require("./dist/index.cjs");
    const cjsLeaks = require("./dist/leaks.cjs");
    const cjsTesting = require("./dist/testing.cjs");
    const open = (copy, label) => copy.Handle.of(label, () => {}, { kind: "key", label });
    ${code}`;
  const args = ["--expose-gc", "--input-type=module", "-e", source];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  return stdout + stderr;
}

describe("two copies of the library", () => {
  it("share one set of records, whichever switches tracking on", () => {
    const out = run(`
      const tracking = cjsLeaks.trackLeaks();
      const handles = [open(esm, "esm"), open(cjs, "cjs")];
      console.log(esmLeaks.liveHandles().map(({ label }) => label).join(), cjsLeaks.liveHandles().length);
      try { cjsTesting.assertNoLeaks(); } catch (error) { console.log(error.code); }
      for (const handle of handles) handle.decrRef();
      cjsTesting.assertNoLeaks();
    `);
    expect(out).toBe("esm,cjs 2\nERR_LEAK\n");
  });

  it("report a dropped handle once", () => {
    const out = run(`
      esmLeaks.trackLeaks({ onLeak: ({ verdict, label }) => console.log(verdict, label) });
      (() => void [open(esm, "esm"), open(cjs, "cjs")])();
      await cjsLeaks.settle();
      await esmLeaks.settle();
    `);
    expect(out.trim().split("\n").sort()).toEqual(["dropped cjs", "dropped esm"]);
  });

  it("name the user's frames, not those of the other copy", () => {
    const out = run(`
      esmLeaks.trackLeaks();
      const handle = open(cjs, "cjs");
      console.log(esmLeaks.liveHandles()[0].opened.includes("dist"));
    `);
    expect(out).toBe("false\n");
  });

  it.each([
    ["esmLeaks", "cjsLeaks"],
    ["cjsLeaks", "esmLeaks"],
    ["cjsLeaks", "cjsLeaks"],
  ])("say where, whichever tracks and whichever reports: %s, %s", (tracks, reports) => {
    const out = run(`
      ${tracks}.trackLeaks();
      const handle = open(esm, "esm");
      const [live] = ${reports}.liveHandles();
      console.log(live.opened !== "", live.age >= 0, String(${reports}.leakReport()).includes("no stack was taken"));
      handle.decrRef();
      try { handle.decrRef(); } catch (error) { console.log(typeof error.opened, typeof error.closed); }
      console.log(${reports}.takeSnapshot().diff(${tracks}.takeSnapshot()).length);
    `);
    expect(out).toBe("true true false\nstring string\n0\n");
  });

  it("move a context that was begun while the other copy tracked", () => {
    const out = run(`
      esmLeaks.trackLeaks();
      const memory = new esm.AutoMemory();
      const handle = memory.use(open(esm, "esm"));
      cjsLeaks.trackLeaks();
      memory.move().dispose();
      console.log(handle.alive);
    `);
    expect(out).toBe("false\n");
  });
});
