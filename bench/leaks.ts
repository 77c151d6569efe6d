// What does each level of leak tracking cost, against the same work with the tracker never imported?
//
// Every level is measured in processes of its own, which take turns.
import { execFileSync } from "node:child_process";
import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { median, print, type Row } from "./measure";

const dist = `${pathToFileURL(resolve(dirname(process.argv[1] ?? "bench"), "..", "dist"))}/`;
const ROUNDS = 5;

/** Elapsed time over a fixed number of operations, collection included: a median would hide the rare and the late. */
const MEASURE = `
const frames = (leaf, depth) => { let f = leaf; for (let i = 0; i < depth; i++) { const next = f; f = new Function("next", "return function f" + i + "(n) { const r = next(n); return r; }")(next); } return f; };
const measure = async (n, op) => {
  const run = frames(op, 8);
  for (let i = 0; i < n / 10; i++) run(i);
  await new Promise((resolve) => setImmediate(resolve));
  gc();
  const start = performance.now();
  for (let i = 0; i < n; ) { for (const end = Math.min(n, i + 10000); i < end; i++) run(i); await new Promise((resolve) => setImmediate(resolve)); }
  gc();
  await new Promise((resolve) => setImmediate(resolve));
  console.log(((performance.now() - start) * 1e6) / n);
};
`;

const WORK = `
import { Handle, defineResource } from "${dist}index.js";
const Key = defineResource({ kind: "key", open: (name) => name, free: () => {} });
const op = () => { const handle = Key.open("a"); const other = handle.dup("other"); handle.decrRef(); other.decrRef(); return 0; };
`;

const track = (level: string): string => `
import { trackLeaks } from "${dist}leaks.js";
globalThis.tracking = trackLeaks({ level: "${level}" });
`;

const CASES: Record<string, string> = {
  never: `${WORK}${MEASURE} await measure(2_000_000, op);`,
  count: `${WORK}${track("count")}${MEASURE} await measure(2_000_000, op);`,
  sampled: `${WORK}${track("sampled")}${MEASURE} await measure(2_000_000, op);`,
  full: `${WORK}${track("full")}${MEASURE} await measure(50_000, op);`,
  "registry + stack": `${MEASURE}
    globalThis.registry = new FinalizationRegistry(() => {});
    Error.stackTraceLimit = 8;
    let sink = "";
    await measure(50_000, () => {
      const handle = { a: 1 };
      const token = {};
      globalThis.registry.register(handle, 1, token);
      sink = new Error().stack;
      globalThis.registry.unregister(token);
      return sink.length;
    });`,
};

const BYTES = `${WORK}${track("full")}
const kept = new Array(100_000);
const used = () => { gc(); gc(); const { heapUsed, arrayBuffers } = process.memoryUsage(); return heapUsed + arrayBuffers; };
const open = (i) => { kept[i] = Key.open("a"); };
for (let i = 0; i < 2000; i++) open(i);
await new Promise((resolve) => setImmediate(resolve));
const before = used();
for (let i = 2000; i < kept.length; i++) open(i);
await new Promise((resolve) => setImmediate(resolve));
await new Promise((resolve) => setImmediate(resolve));
console.log((used() - before) / (kept.length - 2000));
console.error(kept.length);
`;

const GROWTH = `${WORK}${track("full")}
const used = () => { gc(); gc(); return process.memoryUsage().heapUsed; };
const turn = () => new Promise((resolve) => setImmediate(resolve));
for (let i = 0; i < 20_000; i++) op();
await turn(); await turn();
const before = used();
for (let i = 0; i < 1_000_000; ) { for (const end = i + 10_000; i < end; i++) op(); await turn(); }
await turn(); await turn();
console.log((used() - before) / 1e6);
`;

const REPORT = `${WORK}
import { leakReport, trackLeaks } from "${dist}leaks.js";
globalThis.tracking = trackLeaks({ level: "full" });
const kept = [];
const sites = Array.from({ length: 1000 }, (_, i) => new Function("Key", "kept", "return function site" + i + "() { kept.push(Key.open('a')); }")(Key, kept));
for (let i = 0; i < 1_000_000; i++) sites[i % 1000]();
const start = performance.now();
const text = String(leakReport());
console.log((performance.now() - start) / 1000);
console.error(text.length);
`;

function run(code: string): number {
  const args = ["--expose-gc", "--input-type=module", "-e", code];
  return Number(execFileSync(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] }).toString());
}

const times = new Map<string, number[]>(Object.keys(CASES).map((name) => [name, []]));
// Alternating, so that a slow minute of the machine is everybody's.
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, code] of Object.entries(CASES)) times.get(name)?.push(run(code));
}
const rows: Row[] = [];
const [major = 0] = process.versions.node.split(".").map(Number);

/** The median time of one case, beside that of another one. */
function compare(name: string, base: string, against: string, target: number): void {
  const [ours, theirs] = [median(times.get(name) ?? []), median(times.get(base) ?? [])];
  rows.push({ question: `tracking: ${name}`, ours, unit: "ns", against, theirs, target });
}
compare("count", "never", "never imported", 1.1);
compare("sampled", "count", "count", 1.25);
compare("full", "registry + stack", "one registration, one stack of 8 frames", major < 26 ? 2.5 : 2);

/** A figure beside the most it should be. */
function bound(question: string, ours: number, unit: string, most: number): void {
  rows.push({ question, ours, unit, against: `${most} ${unit}`, theirs: most, target: 1 });
}
bound("full: a live handle", run(BYTES), "bytes", 400);
bound("full: growth after 1,000,000 open and free", Math.max(0, run(GROWTH)), "MB", 2);
bound("full: report on 1,000,000 from 1,000 sites", run(REPORT), "s", 2);
print("Leak tracking", rows);
