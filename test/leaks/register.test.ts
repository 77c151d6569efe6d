import { spawnSync } from "node:child_process";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";

const register = pathToFileURL("dist/register.js").href;

interface Run {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program with `lastref/register`. */
function run(code: string, env: Record<string, string> = {}, flags: readonly string[] = ["--import", register]): Run {
  const source = `import { Handle } from "./dist/index.js";
    const open = (label) => Handle.of(label, () => {}, { kind: "key", label });
    ${code}`;
  const { NODE_OPTIONS: _, ...inherited } = process.env;
  const args = [...flags, "--expose-gc", "--input-type=module", "-e", source];
  return spawnSync(process.execPath, args, { encoding: "utf8", env: { ...inherited, ...env } });
}

const full = { LASTREF_LEAKS: "full" };

describe("lastref/register", () => {
  it("prints one summary of what is still open when the process ends", () => {
    const { status, stderr } = run(
      `globalThis.kept = ["a", "b"].map((label) => open(label)); open("c").decrRef();`,
      full,
    );
    expect(status).toBe(0);
    expect(stderr.match(/at exit:/g)).toHaveLength(1);
    expect(stderr).toContain("lastref: 2 leaks in 1 group (level full)");
    expect(stderr).not.toContain(`"c"`);
  });

  it("prints it also for a program that never leaves its first turn, and for one that calls exit", () => {
    expect(run(`open("a");`, full).stderr).toContain("1 leak");
    const { status, stderr } = run(`open("a"); process.exit(3);`, { ...full, LASTREF_LEAKS_EXIT_CODE: "7" });
    expect(status).toBe(3);
    expect(stderr).toContain("1 leak");
  });

  it("prints nothing where nothing is open, or nothing is tracked", () => {
    expect(run(`open("a").decrRef();`, full)).toMatchObject({ status: 0, stderr: "" });
    expect(run(`open("a");`)).toMatchObject({ status: 0, stderr: "" });
  });

  it("records what the environment asks for, whatever the program tracks itself", () => {
    const program = (level: string): string => `
      globalThis.kept = [open("before")];
      const { trackLeaks } = await import("./dist/leaks.js");
      trackLeaks({ level: "${level}" });
      kept.push(...Array.from({ length: 50 }, (_, n) => open("after " + n)));`;
    for (const level of ["count", "sampled", "full"]) {
      const { status, stderr } = run(program(level), { ...full, LASTREF_LEAKS_EXIT_CODE: "7" });
      expect([status, stderr.match(/lastref: .*/)?.[0]]).toEqual([7, "lastref: 51 leaks in 2 groups (level full)"]);
    }
    expect(run(program("full")).stderr).toContain("lastref: 50 leaks in 1 group (level full)");
  });

  it("sets the exit code for what was dropped before a test helper or the program tracked as well", () => {
    for (const then of [
      `const { leakGuard } = await import("./dist/testing.js"); leakGuard({ beforeEach() {}, afterEach() {} });`,
      `(await import("./dist/leaks.js")).trackLeaks();`,
    ]) {
      const { status, stderr } = run(
        `const { settle } = await import("./dist/leaks.js");
        (() => void open("lost"))();
        await settle();
        ${then}`,
        { ...full, LASTREF_LEAKS_EXIT_CODE: "7" },
      );
      expect([status, stderr.match(/lastref: .*/)?.[0]]).toEqual([7, "lastref: 1 leak in 1 group (level full)"]);
    }
  });

  it("prints what is open of a watched kind at the level that records no others", () => {
    const { status, stderr } = run(
      `const { defineResource } = await import("./dist/index.js");
      globalThis.kept = defineResource({ kind: "fd", free() {}, watch: true }).wrap(1);`,
      { LASTREF_LEAKS_EXIT_CODE: "7" },
    );
    expect([status, stderr.match(/lastref: .*/)?.[0]]).toEqual([7, "lastref: 1 leak in 1 group (level count)"]);
  });

  it("says that nothing was checked where an exit code is asked for at the level that records nothing of it", () => {
    const unseen = 'not seen: leak tracking is at level "count": nothing but kinds with watch: true is recorded';
    const env = { LASTREF_LEAKS_EXIT_CODE: "7" };
    expect(run(`globalThis.kept = open("a");`, env)).toMatchObject({
      status: 0,
      stderr: expect.stringContaining(unseen),
    });
    const watched = `const { defineResource } = await import("./dist/index.js");
      defineResource({ kind: "fd", free() {}, watch: true }).wrap(1).decrRef();`;
    expect(run(watched, env)).toMatchObject({ status: 0, stderr: "" });
    expect(run(`globalThis.kept = open("a");`, { LASTREF_LEAKS_EXIT_CODE: "0" }).stderr).toBe("");
    expect(run("", { ...full, ...env }).stderr).toBe("");
  });

  it("sets the exit code where that is asked for, and only for a leak", () => {
    const env = { ...full, LASTREF_LEAKS_EXIT_CODE: "7" };
    expect(run(`globalThis.kept = open("a");`, env).status).toBe(7);
    expect(run(`open("a").decrRef();`, env).status).toBe(0);
    const misuse = `const handle = open("a"); handle.decrRef(); try { handle.decrRef(); } catch {}`;
    expect(run(misuse, env)).toMatchObject({ status: 0, stderr: expect.stringContaining("over-released") });
  });

  it("takes an exit code that is none for 1, and says so", () => {
    for (const code of ["1.5", "256", "yes"]) {
      const { status, stderr } = run(`open("a");`, { ...full, LASTREF_LEAKS_EXIT_CODE: code });
      expect(status).toBe(1);
      expect(stderr).toContain(`expected a number from 0 to 255, received "${code}"`);
      expect(stderr).toContain("1 leak");
    }
  });

  it("prints its summary once when both copies are loaded", () => {
    const flags = ["--import", register, "--require", "./dist/register.cjs"];
    expect(run(`open("a");`, full, flags).stderr.match(/at exit:/g)).toHaveLength(1);
  });

  it("loads by --require as well, and both copies share one state", () => {
    const { stderr } = run(`globalThis.kept = open("a");`, full, ["--require", "./dist/register.cjs"]);
    expect(stderr).toContain("1 leak");
  });

  it("publishes to its channels", () => {
    const { stdout } = run(
      `import { subscribe } from "node:diagnostics_channel";
      for (const name of ["lastref:open", "lastref:free", "lastref:leak"]) {
        subscribe(name, ({ kind, label, verdict }) => console.log(name, kind, label, verdict ?? ""));
      }
      const { settle } = await import("./dist/leaks.js");
      open("a").decrRef();
      (() => void open("b"))();
      await settle();`,
      full,
    );
    expect(
      stdout
        .trim()
        .split("\n")
        .map((line) => line.trim()),
    ).toEqual(["lastref:open key a", "lastref:free key a", "lastref:open key b", "lastref:leak key b dropped"]);
  });

  it("says so when the level is none, and which one it is then", () => {
    const { status, stderr } = run(
      `const { defineResource } = await import("./dist/index.js");
      globalThis.kept = [open("a"), defineResource({ kind: "fd", free() {}, watch: true }).wrap(1)];`,
      { LASTREF_LEAKS: "all" },
    );
    expect(status).toBe(0);
    expect(stderr).toContain(`received "all"; the level is "count"`);
    expect(stderr).toContain("lastref: 1 leak in 1 group (level count)");
  });

  it("comes after the program's own listeners of the exit, which may close what they hold", () => {
    const env = { ...full, LASTREF_LEAKS_EXIT_CODE: "7" };
    const held = `const held = [open("a")]; process.on("exit", () => held.pop()?.decrRef());`;
    expect(run(held, env)).toMatchObject({ status: 0, stderr: "" });
    expect(run(`${held} setImmediate(() => process.exit());`, env)).toMatchObject({ status: 0, stderr: "" });
    const { status, stderr } = run(`${held} process.once("exit", () => held.push(open("b"), open("c")));`, env);
    expect([status, stderr.match(/at exit:/g), stderr.match(/key "(.*?)"/)?.[1]]).toEqual([7, ["at exit:"], "b"]);
    expect(run(`open("a"); process.on("exit", () => {}); process.exit();`, env).status).toBe(7);
  });

  it("comes before those that are added in the very turn that exits, as its documentation says", () => {
    const { stderr } = run(`const held = open("a"); process.on("exit", () => held.decrRef()); process.exit();`, full);
    expect(stderr).toContain("1 leak");
  });

  it("prints nothing where a signal ends the process, unless the program handles it and exits", () => {
    const end = `globalThis.kept = open("a"); process.kill(process.pid, "SIGTERM"); setInterval(() => {}, 1000);`;
    expect(run(end, full)).toMatchObject({ status: null, stderr: "" });
    const handled = run(`process.on("SIGTERM", () => process.exit()); ${end}`, full);
    expect(handled).toMatchObject({ status: 0, stderr: expect.stringContaining("1 leak") });
  });

  it("names the worker that leaks", () => {
    const { stderr } = run(
      `import { Worker } from "node:worker_threads";
      const index = new URL("file://" + process.cwd() + "/dist/index.js").href;
      const code = \`import(\${JSON.stringify(index)}).then(({ Handle }) => {
        globalThis.kept = Handle.of("x", () => {}, { kind: "key", label: "in the worker" });
      })\`;
      await new Promise((resolve) => new Worker(code, { eval: true }).on("exit", resolve));`,
      full,
    );
    expect(stderr).toMatch(/in worker \d+, at exit: lastref: 1 leak/);
    expect(stderr).toContain("in the worker");
  });
});
