import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createContext, runInContext } from "node:vm";
import { build } from "esbuild";
import { beforeAll, describe, expect, it } from "vitest";
import type * as Lastref from "../src/index";

const dist = join(import.meta.dirname, "..", "dist");
const require = createRequire(import.meta.url);
const SLOT = Symbol.for("lastref.realm.v1");

type Copy = typeof Lastref;

/** Every file of `dist` that `entry` loads, itself included, with the specifiers that lead elsewhere. */
function graph(entry: string): { files: Set<string>; outside: string[] } {
  const files = new Set<string>();
  const outside: string[] = [];
  const visit = (file: string): void => {
    if (files.has(file)) return;
    files.add(file);
    const text = readFileSync(join(dist, file), "utf8");
    for (const [, from] of text.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\(\s*)["']([^"']+)["']/g)) {
      if (from?.startsWith("./")) visit(from.slice(2));
      else outside.push(`${file} loads ${from}`);
    }
  };
  visit(entry);
  return { files, outside };
}

describe("the built core", () => {
  it.each(["index.js", "index.cjs"])("loads nothing from outside: no package and no node: module (%s)", (entry) => {
    const { files, outside } = graph(entry);
    expect(outside).toEqual([]);
    expect(files.size).toBeGreaterThan(3);
    const loaded = [...files].map((file) => readFileSync(join(dist, file), "utf8")).join("\n");
    expect(loaded).not.toMatch(/["']node:/);
    expect(loaded).not.toMatch(/\beval\(|new Function\(/);
  });

  it("would be seen to load a node: module", () => {
    const text = 'import { readFile } from "node:fs";';
    expect([...text.matchAll(/\bfrom\s*["']([^"']+)["']/g)].map(([, from]) => from)).toEqual(["node:fs"]);
    expect(readdirSync(dist)).toContain("index.d.cts");
  });

  it("has the same names in both formats, and no default", async () => {
    const esm = Object.keys((await import(join(dist, "index.js"))) as object).toSorted();
    const cjs = Object.keys(require(join(dist, "index.cjs")) as object).toSorted();
    expect(esm).toEqual(cjs);
    expect(esm).toEqual(
      expect.arrayContaining(["AsyncAutoMemory", "AutoMemory", "Handle", "LastrefError", "setPanic"]),
    );
    expect(esm).not.toContain("default");
    expect(esm).not.toContain("HandleImpl");
  });
});

describe("two copies in one realm", () => {
  let esm: Copy;
  let cjs: Copy;
  beforeAll(async () => {
    esm = (await import(join(dist, "index.js"))) as Copy;
    cjs = require(join(dist, "index.cjs")) as Copy;
  });

  it("share one state, under a slot that is neither enumerable nor writable nor configurable", () => {
    expect(esm.Handle).not.toBe(cjs.Handle);
    const slot = Object.getOwnPropertyDescriptor(globalThis, SLOT);
    expect(slot).toMatchObject({ enumerable: false, writable: false, configurable: false });
    expect(Object.keys(globalThis)).not.toContain(SLOT);
    const heard: Error[] = [];
    esm.setPanic((error) => heard.push(error));
    try {
      const handle = cjs.Handle.of(1, () => {});
      handle.decrRef();
      expect(handle.decrRef()).toBe(false);
      expect(heard).toHaveLength(1);
      expect(heard[0]).toBeInstanceOf(cjs.RefCountError);
    } finally {
      cjs.setPanic("throw");
    }
    const handle = esm.Handle.of(1, () => {});
    handle.decrRef();
    expect(() => handle.decrRef()).toThrow(esm.RefCountError);
  });

  it("share a slot that survives a test runner that empties what hangs on its global", () => {
    const state = (globalThis as unknown as Record<symbol, object>)[SLOT] as object;
    for (const key of Reflect.ownKeys(state)) Reflect.deleteProperty(state, key);
    const overdraw = (): void => {
      const handle = cjs.Handle.of(1, () => {});
      handle.decrRef();
      handle.decrRef();
    };
    expect(overdraw).toThrow(cjs.RefCountError);
    const heard: Error[] = [];
    esm.setPanic((error) => heard.push(error));
    overdraw();
    esm.setPanic("throw");
    expect(heard).toHaveLength(1);
  });

  it("own each other's handles as any disposable", async () => {
    const freed: string[] = [];
    const memory = new esm.AutoMemory();
    const handle = memory.use(cjs.Handle.of("cjs", (v) => void freed.push(v)));
    const held = memory.hold(handle);
    expect([held.value, memory.size, handle.refCount]).toEqual(["cjs", 2, 2]);
    memory.dispose();
    expect([handle.owed, freed]).toEqual([0, ["cjs"]]);
    const Key = cjs.defineAsyncResource<string>({ kind: "key", free: async (v) => void freed.push(v) });
    const async = new esm.AsyncAutoMemory();
    expect((await async.open(Key, "async")).value).toBe("async");
    await async.disposeAsync();
    expect(freed).toEqual(["cjs", "async"]);
  });
});

/** The core in a context of its own with these globals; `prepare` runs there before it loads. */
async function load(prepare: string, globals: object = {}): Promise<{ run(code: string): unknown }> {
  const { outputFiles } = await build({
    entryPoints: [join(dist, "index.js")],
    bundle: true,
    write: false,
    format: "iife",
    globalName: "lastref",
    logLevel: "error",
    supported: { "top-level-await": false },
  });
  const context = createContext(globals);
  runInContext(prepare, context);
  runInContext((outputFiles[0] as { text: string }).text, context);
  return { run: (code) => runInContext(code, context) };
}

describe("a vm context with the process of another realm", () => {
  it("is warned by name and message: the error itself would be refused", async () => {
    const { run } = await load("", { process });
    const warnings: Error[] = [];
    const hear = (warning: Error): void => void warnings.push(warning);
    process.on("warning", hear);
    const given = run(`
      lastref.setPanic("report");
      const handle = lastref.Handle.of(1, () => {}, { kind: "key", label: "a" });
      [handle.decrRef(), handle.decrRef()].join();
    `);
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", hear);
    expect(given).toBe("true,false");
    expect(warnings.map(({ name }) => name)).toEqual(["RefCountError"]);
    expect(warnings[0]?.message).toMatch(/^decrRefCount against refcount <= 0: cannot give back key "a"/);
  });
});

describe("a realm without dispose symbols", () => {
  const without = `
    for (const name of ["dispose", "asyncDispose"]) {
      if (Symbol[name] === undefined) continue;
      globalThis.Symbol = new Proxy(Symbol, { get: (t, key) => (key === "dispose" || key === "asyncDispose" ? undefined : t[key]) });
    }`;

  it("loads, and uses the symbols that compilers use there", async () => {
    const { run } = await load(without);
    expect(run("[Symbol.dispose, Symbol.asyncDispose].join()")).toBe(",");
    const log = run(`
      const log = [];
      const dispose = Symbol.for("Symbol.dispose");
      const handle = lastref.Handle.of("a", (v) => log.push(v));
      handle[dispose]();
      handle[dispose]();
      const memory = new lastref.AutoMemory();
      memory.use(lastref.Handle.of("b", (v) => log.push(v)));
      memory.use({ [dispose]() { log.push("c"); } });
      memory[dispose]();
      log.push(typeof lastref.AsyncAutoMemory.prototype[Symbol.for("Symbol.asyncDispose")]);
      log.join();
    `);
    expect(log).toBe("a,c,b,function");
    expect(run("[Symbol.dispose, Symbol.asyncDispose].join()")).toBe(",");
    expect(run("Symbol.keyFor(Symbol.for('Symbol.dispose'))")).toBe("Symbol.dispose");
  });

  it("has a SuppressedError of its own where the realm has none", async () => {
    const { run } = await load(`${without}; delete globalThis.SuppressedError;`);
    const said = run(`
      const memory = new lastref.AutoMemory();
      for (const text of ["a", "b"]) memory.defer(() => { throw new Error(text); });
      let caught;
      try { memory.dispose(); } catch (error) { caught = error; }
      [caught instanceof lastref.SuppressedError, caught instanceof Error, caught.name, caught.error.message,
       caught.suppressed.message, typeof globalThis.SuppressedError].join();
    `);
    expect(said).toBe("true,true,SuppressedError,a,b,undefined");
  });

  it("loads and runs where there is no process, no console and no timer", async () => {
    const { run } = await load("");
    const said = run(`
      lastref.setPanic("report");
      const handle = lastref.Handle.of(1, () => {});
      [typeof process, typeof setTimeout, handle.decrRef(), handle.decrRef()].join();
    `);
    expect(said).toBe("undefined,undefined,true,false");
  });

  it("writes nothing to the global object but its one slot", async () => {
    const { run } = await load("globalThis.before = new Set(Reflect.ownKeys(globalThis));");
    const added = run(`
      const handle = lastref.Handle.of(1, () => {});
      new lastref.AutoMemory().use(handle);
      Reflect.ownKeys(globalThis).filter((key) => !before.has(key) && !["before", "lastref"].includes(key)).map(String).join();
    `);
    expect(added).toBe("Symbol(lastref.realm.v1)");
  });
});
