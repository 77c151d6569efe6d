// What does counting cost, beside a counter written by hand, quickjs-emscripten's Lifetime and the native DisposableStack?
import { dirname } from "node:path";
import { brotliCompressSync } from "node:zlib";
import { build } from "esbuild";
import { AutoMemory, defineResource, type Handle } from "lastref";
import { Lifetime, Scope } from "quickjs-emscripten-core";
import { median, medians, print, type Row } from "./measure";
import { ByHand } from "./peers";

let sink = 0;
const free = (value: number): void => {
  sink += value;
};
const Thing = defineResource({ kind: "thing", open: (value: number) => value, free });
const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});
const rows: Row[] = [];

{
  const ours = Thing.open(1);
  const theirs = new ByHand(1, free);
  const ns = await medians({
    byHand: () => theirs.incrRef().decrRef(),
    lastref: () => ours.incrRef().decrRef(),
  });
  rows.push({
    question: "incrRef + decrRef",
    ours: ns.lastref,
    unit: "ns",
    against: "a counter by hand",
    theirs: ns.byHand,
    target: 2,
  });
}

{
  const last: unknown[] = [];
  const ns = await medians({
    byHand: () => {
      const thing = new ByHand(1, free);
      last[0] = thing;
      thing.decrRef();
    },
    lastref: () => {
      const thing = Thing.open(1);
      last[0] = thing;
      thing.decrRef();
    },
    lifetime: () => {
      const thing = new Lifetime(1, undefined, free);
      last[0] = thing;
      thing.dispose();
    },
  });
  const row = { question: "open + free", ours: ns.lastref, unit: "ns" };
  rows.push({ ...row, against: "a counter by hand", theirs: ns.byHand, target: 2 });
  rows.push({ ...row, against: "quickjs Lifetime", theirs: ns.lifetime, target: 1 });
}

{
  const last: unknown[] = [];
  const ours = Thing.open(1);
  const theirs = new Lifetime<number, number>(1, (value) => value, free);
  const ns = await medians({
    lifetime: () => {
      const copy = theirs.dup();
      last[0] = copy;
      copy.dispose();
    },
    lastref: () => {
      const copy = ours.dup();
      last[0] = copy;
      copy.decrRef();
    },
  });
  rows.push({
    question: "dup + decrRef",
    ours: ns.lastref,
    unit: "ns",
    against: "quickjs Lifetime.dup + dispose",
    theirs: ns.lifetime,
    target: 0.75,
  });
}

{
  interface Stack {
    adopt(value: number, onDispose: (value: number) => void): number;
    dispose(): void;
  }
  const Native = (globalThis as { DisposableStack?: new () => Stack }).DisposableStack;
  const ns = await medians({
    scope: () =>
      Scope.withScope((scope) => {
        for (let i = 0; i < 10; i++) scope.manage(new Lifetime(i, undefined, free));
      }),
    lastref: () => {
      const memory = new AutoMemory();
      for (let i = 0; i < 10; i++) memory.open(Thing, i);
      memory.dispose();
    },
    native: () => {
      if (Native === undefined) return;
      const stack = new Native();
      for (let i = 0; i < 10; i++) stack.adopt(i, free);
      stack.dispose();
    },
  });
  const row = { question: "a context of 10: open, own, free", ours: ns.lastref, unit: "ns" };
  rows.push({ ...row, against: "quickjs Scope", theirs: ns.scope, target: 0.25 });
  if (Native) rows.push({ ...row, against: "native DisposableStack, 10 adopts", theirs: ns.native, target: 0.35 });
}

{
  const million = 1_000_000;
  const run = (open: (value: number) => Handle<number>): number => {
    collect();
    const start = performance.now();
    const handles: Handle<number>[] = [];
    for (let i = 0; i < million; i++) handles.push(open(i));
    for (const handle of handles) handle.decrRef();
    return performance.now() - start;
  };
  const without: number[] = [];
  const within: number[] = [];
  for (let round = 0; round < 9; round++) {
    without.push(run((value) => Thing.open(value)));
    using memory = new AutoMemory();
    within.push(run((value) => memory.open(Thing, value)));
    if (memory.size !== 0) throw new Error(`Expected an empty context, it owns ${memory.size}`);
  }
  rows.push({
    question: "1,000,000 opened and closed early, FIFO",
    ours: median(within),
    unit: "ms",
    against: "the same without a context",
    theirs: median(without),
    target: 2,
  });
}

{
  const count = 200_000;
  const used = (): number => {
    collect();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  const handles: unknown[] = new Array(count).fill(null);
  const before = used();
  for (let i = 0; i < count; i++) handles[i] = Thing.open(i);
  const bytes = (used() - before) / count;
  if (handles.length !== count) throw new Error("unreachable: it keeps the handles alive");
  rows.push({
    question: "bytes of a live handle",
    ours: bytes,
    unit: "bytes",
    against: "160 bytes",
    theirs: 160,
    target: 1,
  });
}

{
  const { outputFiles } = await build({
    stdin: {
      contents: 'export { Handle, AutoMemory, defineResource } from "lastref"',
      resolveDir: dirname(process.argv[1] ?? "."),
    },
    bundle: true,
    minify: true,
    write: false,
    logLevel: "error",
    format: "esm",
    target: "es2022",
  });
  rows.push({
    question: "bytes of a bundle",
    ours: brotliCompressSync(outputFiles[0]?.contents ?? "").length,
    unit: "bytes",
    against: "3,500 bytes",
    theirs: 3500,
    target: 1,
  });
}

print("The core", rows);
if (sink < 0) console.log(sink);
