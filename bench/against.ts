// What does one shared thing cost, beside what other libraries offer for it, each doing as much as it does?
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Effect, Exit, RcRef, Scope } from "effect";
import { AutoMemory, defineResource } from "lastref";
import { Lifetime } from "quickjs-emscripten-core";
import { medians, print, type Row } from "./measure";
import { ByHand } from "./peers";

// Peers too large for everybody's node_modules; bench/run.mjs fetches them for the run.
const fetched = process.env.LASTREF_BENCH_PEERS ?? "";

interface Disposing {
  dispose(): void;
}
interface Lifecycle {
  readonly RefCountedDisposable: new (inner: Disposing) => { acquire(): unknown; release(): unknown };
  readonly DisposableStore: new () => Disposing & { add(thing: Disposing): Disposing };
  toDisposable(close: () => void): Disposing;
}
interface Lumino {
  readonly DisposableDelegate: new (close: () => void) => Disposing;
  readonly DisposableSet: new () => Disposing & { add(thing: Disposing): void };
}
/** A class of C++ as embind binds it: every object of one has these. */
interface Bound {
  clone(): Bound;
  delete(): void;
}
interface Embind {
  setup(): void;
  readonly Manifold: { cube(size: number[]): Bound };
}
interface Stack extends Disposing {
  adopt(value: number, onDispose: (value: number) => void): number;
}

const load = createRequire(join(fetched, "/"));
const lifecycle = (await import(
  pathToFileURL(join(fetched, "node_modules/monaco-editor/esm/vs/base/common/lifecycle.js")).href
)) as Lifecycle;
const lumino = load("@lumino/disposable") as Lumino;
const Polyfill = load("disposablestack/DisposableStack/implementation") as new () => Stack;
const embind = (await import(pathToFileURL(join(fetched, "node_modules/manifold-3d/manifold.js")).href)) as {
  readonly default: () => Promise<Embind>;
};
const Native = (globalThis as { DisposableStack?: new () => Stack }).DisposableStack;

let sink = 0;
const free = (value: number): void => {
  sink += value;
};
const Thing = defineResource({ kind: "thing", open: (value: number) => value, free });
const last: unknown[] = [];
const rows: Row[] = [];
const acquire = Effect.acquireRelease(Effect.succeed(1), (value) => Effect.sync(() => free(value)));
const acquireOne = Effect.scoped(acquire);

/** Measures `ours` beside the others, each named by what it is; none has a target. */
async function compare(question: string, ours: () => unknown, others: Record<string, () => unknown>): Promise<void> {
  const ns: Record<string, number> = await medians({ ours, ...others });
  for (const against of Object.keys(others)) {
    const [mine = Number.NaN, theirs = Number.NaN] = [ns.ours, ns[against]];
    rows.push({ question, ours: mine, unit: "ns", against, theirs, target: Number.POSITIVE_INFINITY });
  }
}

await compare(
  "one thing: open, close",
  () => {
    const thing = Thing.open(1);
    last[0] = thing;
    thing.decrRef();
  },
  {
    "a counter by hand": () => {
      const thing = new ByHand(1, free);
      last[0] = thing;
      thing.decrRef();
    },
    "quickjs Lifetime": () => {
      const thing = new Lifetime(1, undefined, free);
      last[0] = thing;
      thing.dispose();
    },
    "VS Code RefCountedDisposable": () => {
      const thing = new lifecycle.RefCountedDisposable(lifecycle.toDisposable(() => free(1)));
      last[0] = thing;
      thing.release();
    },
    "Lumino DisposableDelegate (uncounted)": () => {
      const thing = new lumino.DisposableDelegate(() => free(1));
      last[0] = thing;
      thing.dispose();
    },
    "Effect.acquireRelease in a scope": () => {
      last[0] = Effect.runSync(acquireOne);
    },
  },
);

{
  const ours = Thing.open(1);
  const byHand = new ByHand(1, free);
  const vscode = new lifecycle.RefCountedDisposable(lifecycle.toDisposable(() => free(1)));
  const lifetime = new Lifetime<number, number>(1, (value) => value, free);
  const scope = Effect.runSync(Scope.make());
  const ref = Effect.runSync(Scope.provide(RcRef.make({ acquire }), scope));
  Effect.runSync(Scope.provide(RcRef.get(ref), scope)); // the first holder, who stays
  const share = Effect.scoped(RcRef.get(ref));
  const wasm = await embind.default();
  wasm.setup();
  const solid = wasm.Manifold.cube([1, 1, 1]);
  await compare(
    "a second holder comes and goes",
    () => {
      const copy = ours.dup();
      last[0] = copy;
      copy.decrRef();
    },
    {
      "a counter by hand (no account)": () => byHand.incrRef().decrRef(),
      "VS Code RefCountedDisposable (no account)": () => {
        vscode.acquire();
        vscode.release();
      },
      "quickjs Lifetime.dup": () => {
        const copy = lifetime.dup();
        last[0] = copy;
        copy.dispose();
      },
      "embind clone + delete": () => {
        const copy = solid.clone();
        last[0] = copy;
        copy.delete();
      },
      "Effect RcRef.get in a scope": () => {
        last[0] = Effect.runSync(share);
      },
    },
  );
  Effect.runSync(Scope.close(scope, Exit.void));
}

function fill(stack: Stack): void {
  for (let i = 0; i < 10; i++) stack.adopt(i, free);
  stack.dispose();
}

await compare(
  "a context of 10",
  () => {
    const memory = new AutoMemory();
    for (let i = 0; i < 10; i++) memory.open(Thing, i);
    memory.dispose();
  },
  {
    "VS Code DisposableStore": () => {
      const store = new lifecycle.DisposableStore();
      for (let i = 0; i < 10; i++) store.add(lifecycle.toDisposable(() => free(i)));
      store.dispose();
    },
    "Lumino DisposableSet": () => {
      const set = new lumino.DisposableSet();
      for (let i = 0; i < 10; i++) set.add(new lumino.DisposableDelegate(() => free(i)));
      set.dispose();
    },
    "DisposableStack, polyfilled": () => fill(new Polyfill()),
    ...(Native && { "DisposableStack, native": () => fill(new Native()) }),
  },
);

print("Beside its peers", rows);
console.log("embind: the Manifold of manifold-3d; each clone is registered with the garbage collector");
console.log("Effect's RcMap, which keys what it counts, is beside HandleMap below");
if (sink < 0) console.log(sink);
