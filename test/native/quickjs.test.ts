import { newQuickJSWASMModule, type QuickJSContext, type QuickJSHandle, type QuickJSRuntime } from "quickjs-emscripten";
import { describe, expect, it } from "vitest";
import { AutoMemory } from "../../src/auto-memory";
import { RefCountError } from "../../src/errors";
import type { Handle } from "../../src/handle";
import { defineResource } from "../../src/resource";

// QuickJS counts its own values, and its runtime aborts at the end when one of them was not given back: a second opinion
// that knows nothing of this library. An abort ends the WASM module, so each test loads its own.

const Runtime = defineResource({ kind: "quickjs runtime", free: (runtime: QuickJSRuntime) => runtime.dispose() });

interface Realm {
  readonly runtime: Handle<QuickJSRuntime>;
  readonly context: QuickJSContext;
}

const Realm = defineResource({
  kind: "quickjs context",
  open: (runtime: Handle<QuickJSRuntime>): Realm => {
    const mine = runtime.dup("context");
    return { runtime: mine, context: mine.value.newContext() };
  },
  free: ({ runtime, context }: Realm) => {
    context.dispose();
    runtime.decrRef();
  },
});

interface Value {
  readonly realm: Handle<Realm>;
  readonly handle: QuickJSHandle;
}

const Value = defineResource({
  kind: "quickjs value",
  open: (realm: Handle<Realm>, code: string): Value => {
    const { context } = realm.value;
    return { handle: context.unwrapResult(context.evalCode(code)), realm: realm.dup("value") };
  },
  free: ({ realm, handle }: Value) => {
    handle.dispose();
    realm.decrRef();
  },
  label: (_value, _realm, code) => `${code}`,
});

async function start(): Promise<Handle<QuickJSRuntime>> {
  return Runtime.wrap((await newQuickJSWASMModule()).newRuntime());
}

function live(): number[] {
  return [Runtime, Realm, Value].map(({ stats }) => stats.live);
}

describe("the WASM values of quickjs-emscripten", () => {
  it("are all given back by a context, and the runtime agrees", async () => {
    const runtime = await start();
    AutoMemory.run((memory) => {
      const realm = memory.open(Realm, runtime);
      for (let i = 0; i < 200; i++) {
        const value = memory.open(Value, realm, `({ n: ${i} })`);
        if (i % 3 === 0) value.dup("cache").decrRef();
        if (i % 4 === 0) value.decrRef();
      }
      const { context } = realm.value;
      using last = Value.open(realm, "6 * 7");
      expect(context.getNumber(last.value.handle)).toBe(42);
    });
    expect(runtime.decrRef()).toBe(true);
    expect(live()).toEqual([0, 0, 0]);
  });

  it("keep context and runtime alive when those are given back first", async () => {
    const runtime = await start();
    const realm = Realm.open(runtime);
    const value = Value.open(realm, "[1, 2, 3]");
    expect([runtime.decrRef(), realm.decrRef()]).toEqual([false, false]);
    expect(live()).toEqual([1, 1, 1]);
    const { context } = value.value.realm.value;
    expect(context.dump(value.value.handle)).toEqual([1, 2, 3]);
    expect(value.decrRef()).toBe(true);
    expect(live()).toEqual([0, 0, 0]);
  });

  it("given back too often are an error here, before QuickJS sees it", async () => {
    const runtime = await start();
    const realm = Realm.open(runtime);
    const value = Value.open(realm, "({})");
    value.decrRef();
    expect(() => value.decrRef()).toThrow(RefCountError);
    realm.decrRef();
    runtime.decrRef();
    expect(live()).toEqual([0, 0, 0]);
  });

  it("make the runtime abort when one is forgotten, and the counts name the same one", async () => {
    const runtime = await start();
    const realm = Realm.open(runtime);
    const before = Value.stats.live;
    const forgotten = Value.open(realm, "({ forgotten: true })");
    expect(Value.stats.live - before).toBe(1);
    // Without accounts nothing holds the context for the value: it is closed under it.
    realm.value.context.dispose();
    expect(() => runtime.value.dispose()).toThrow(/abort/i);
    expect(forgotten.owed).toBe(1);
  });
});
