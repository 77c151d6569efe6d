import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { describe, expect, it } from "vitest";
import { defineResource, Handle } from "../../src/index";
import { leakReport, liveHandles } from "../../src/leaks/index";
import { tracked } from "./support";

const errors = Error as unknown as Record<string, unknown>;

/** Runs a body with a property of `Error` changed, and sees to it that the detector has left it as it was. */
async function withError(name: string, change: PropertyDescriptor | undefined, body: () => unknown): Promise<void> {
  const before = Object.getOwnPropertyDescriptor(Error, name);
  if (change === undefined) delete errors[name];
  else Object.defineProperty(Error, name, { configurable: true, ...change });
  const changed = Object.getOwnPropertyDescriptor(Error, name);
  try {
    await body();
    expect(Object.getOwnPropertyDescriptor(Error, name)).toEqual(changed);
  } finally {
    if (before === undefined) delete errors[name];
    else Object.defineProperty(Error, name, before);
  }
}

function siteOfOne(): string {
  const handle = Handle.of("x", () => {}, { kind: "key" });
  const [{ opened = "" } = {}] = liveHandles();
  handle.decrRef();
  return opened;
}

describe("a program that has changed Error", () => {
  it("has the top level of a mapped file named by its place alone", async () => {
    const mapped = "Error\n    at <anonymous> (file:///app/main.ts:14:1)";
    await withError("prepareStackTrace", { value: () => mapped, writable: true }, () =>
      tracked({}, () => expect(siteOfOne()).toBe("/app/main.ts:14:1")),
    );
  });

  it.each<[string, string, PropertyDescriptor | undefined]>([
    ["stackTraceLimit deleted", "stackTraceLimit", undefined],
    ["stackTraceLimit 0", "stackTraceLimit", { value: 0, writable: true, enumerable: true }],
    ["stackTraceLimit no number", "stackTraceLimit", { value: "many", writable: true, enumerable: true }],
    [
      "prepareStackTrace that maps",
      "prepareStackTrace",
      {
        value: (_: Error, frames: unknown[]) => `Error\n${frames.map((frame) => `    at ${frame}`).join("\n")}`,
        writable: true,
      },
    ],
    [
      "prepareStackTrace that throws",
      "prepareStackTrace",
      {
        value: () => {
          throw new Error("broken");
        },
        writable: true,
      },
    ],
    [
      "prepareStackTrace that returns an array",
      "prepareStackTrace",
      { value: (_: Error, frames: unknown) => frames, writable: true },
    ],
    [
      "prepareStackTrace that returns no frames",
      "prepareStackTrace",
      { value: (error: Error, frames: unknown[]) => `${error} in ${frames.length} frames`, writable: true },
    ],
  ])("gets its sites all the same, and finds it unchanged: %s", async (_, name, change) => {
    await tracked({}, async () => {
      await withError(name, change, () => expect(siteOfOne()).toContain("robust.test.ts"));
    });
  });

  it("hears of a formatter that failed", async () => {
    const { report } = await tracked({}, async () => {
      const value = (): never => {
        throw new Error("broken");
      };
      await withError("prepareStackTrace", { value, writable: true }, siteOfOne);
    });
    expect(report).toContain("Error.prepareStackTrace failed on");
  });

  it("is no worse off with a limit that cannot be changed", async () => {
    const code = `
      import { Handle } from "./dist/index.js";
      import { liveHandles, trackLeaks, leakReport } from "./dist/leaks.js";
      trackLeaks();
      const handle = Handle.of(1, () => {}, { kind: "key" });
      const [live] = liveHandles();
      handle.decrRef();
      try { handle.decrRef(); } catch (error) { console.log(error.code, live.kind, typeof live.opened); }
      console.log(String(leakReport()).includes("over-released"));
    `;
    const flags = ["--frozen-intrinsics", "--input-type=module", "-e", code];
    const run = spawnSync(process.execPath, flags, { encoding: "utf8" });
    expect(run.stdout).toBe("ERR_REFCOUNT key string\ntrue\n");
  });
});

describe("a definition whose functions throw", () => {
  it("is recorded with a label that says so", async () => {
    const Broken = defineResource({
      kind: "broken",
      free: () => {},
      label: () => {
        throw new Error("no name");
      },
      bytes: () => {
        throw new Error("no size");
      },
    });
    await tracked({}, () => {
      const handle = Broken.open("a");
      expect(liveHandles().map(({ label, bytes }) => [label, bytes])).toEqual([["(no label: no name)", 0]]);
      expect(String(leakReport())).toContain("no name");
      handle.decrRef();
    });
  });
});

describe("a program that has run for a month", () => {
  it("is recorded as one that has just begun", () => {
    const code = `
      const now = performance.now.bind(performance);
      let later = 0;
      performance.now = () => now() + later;
      const { Handle } = await import("./dist/index.js");
      const { liveHandles, trackLeaks } = await import("./dist/leaks.js");
      later = 30 * 86_400_000;
      trackLeaks();
      const handle = Handle.of(1, () => {}, { kind: "key" });
      const shared = handle.dup("reader");
      console.log(liveHandles().map(({ holder, refCount, age }) => [holder, refCount, age < 10_000].join()).join(" "));
      handle.decrRef();
      shared.decrRef();
      console.log(liveHandles().length);
    `;
    const options = { encoding: "utf8", timeout: 20_000 } as const;
    const run = spawnSync(process.execPath, ["--input-type=module", "-e", code], options);
    expect(run.stdout).toBe(",2,true reader,2,true\n0\n");
  });
});

describe("a program in one bundle with the library", () => {
  // A server as it is deployed: bundled, but for a package that calls it back.
  const program = `
    import { AutoMemory, defineResource, Handle } from "./dist/index.js";
    import { leakReport, liveHandles, trackLeaks } from "./dist/leaks.js";
    import { handle } from "router";
    trackLeaks();
    const Key = defineResource({ kind: "key", open: (name) => ({ name }), free() {} });
    const memory = new AutoMemory();
    function openInContext() { return memory.open(Key, "a"); }
    function share() { return openInContext().dup("reader"); }
    function close(it) { it.decrRef(); }
    handle(share);
    const spent = Handle.of("b", () => {});
    close(spent);
    let refused;
    try { spent.decrRef(); } catch (error) { refused = error.message; }
    const shared = Key.open("c");
    globalThis.kept = shared.dup("cache");
    close(shared);
    const sites = liveHandles().map(({ opened }) => opened);
    console.log(JSON.stringify({ sites, refused, report: String(leakReport()) }));
  `;

  it.each([
    ["app/server.mjs", false],
    ["src/app/dist/server.mjs", false],
    ["app/server.mjs", true],
  ])("has its own frames named, as %s, source maps %s", async (path, sourcemap) => {
    const home = mkdtempSync(join(tmpdir(), "lastref-bundle-"));
    try {
      const outfile = join(home, path);
      const router = join(outfile, "../node_modules/router");
      mkdirSync(router, { recursive: true });
      writeFileSync(join(router, "package.json"), `{ "name": "router", "main": "index.mjs" }`);
      writeFileSync(join(router, "index.mjs"), "export function handle(route) { return route(); }");
      await build({
        stdin: { contents: program, resolveDir: process.cwd(), sourcefile: "program.js" },
        bundle: true,
        format: "esm",
        external: ["router"],
        outfile,
        sourcemap: sourcemap && "inline",
        logLevel: "error",
      });
      const flags = sourcemap ? ["--enable-source-maps"] : [];
      const { stdout, stderr } = spawnSync(process.execPath, [...flags, outfile], { encoding: "utf8" });
      const { sites, refused, report } = JSON.parse(stdout || stderr) as Record<"refused" | "report", string> & {
        sites: string[];
      };
      expect(sites[0]).toMatch(/openInContext .*\n.*share /);
      expect(sites[1]).toContain("share (");
      expect(refused.split("given back first: ")[1]).toContain("close (");
      expect(report.split("closed first")[1]?.split("fix")[0]).toContain("close (");
      if (sourcemap) expect(sites[0]).toMatch(/^openInContext /);
    } finally {
      rmSync(home, { recursive: true });
    }
  });
});
