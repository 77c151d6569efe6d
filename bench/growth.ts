// How does the cost of a handle grow from 10 to 1,000,000 live ones?
import { appendFileSync } from "node:fs";
import { AutoMemory, defineResource, type Handle } from "lastref";
import { median } from "./measure";
import { ByHand } from "./peers";

const SIZES = [10, 100, 1_000, 10_000, 100_000, 1_000_000];
const ROUNDS = 5;

let sink = 0;
const free = (value: number): void => {
  sink += value;
};
const Thing = defineResource({ kind: "thing", open: (value: number) => value, free });
const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});

interface Closing {
  decrRef(): boolean;
}

const CASES: Record<string, (size: number) => void> = {
  "a counter by hand": (size) => openAndClose(size, (value) => new ByHand(value, free)),
  handles: (size) => openAndClose(size, (value) => Thing.open(value)),
  "handles of a context": (size) => {
    const memory = new AutoMemory();
    const handles: Handle<number>[] = [];
    for (let i = 0; i < size; i++) handles.push(memory.open(Thing, i));
    memory.dispose();
  },
  "handles of a context, closed early": (size) => {
    const memory = new AutoMemory();
    openAndClose(size, (value) => memory.open(Thing, value));
    memory.dispose();
  },
};

function openAndClose(size: number, open: (value: number) => Closing): void {
  const things: Closing[] = [];
  for (let i = 0; i < size; i++) things.push(open(i));
  for (const thing of things) thing.decrRef();
}

/** Nanoseconds per thing with `size` of them live at once. */
function time(size: number, body: (size: number) => void): number {
  const repeats = Math.max(1, Math.floor(200_000 / size));
  collect();
  const start = performance.now();
  for (let i = 0; i < repeats; i++) body(size);
  return ((performance.now() - start) * 1e6) / (repeats * size);
}

console.log(
  `Nanoseconds per thing, opened and closed, by how many are live (Node ${process.versions.node}, medians of ${ROUNDS})`,
);
console.log(`${"".padEnd(36)}${SIZES.map((size) => size.toLocaleString("en").padStart(11)).join("")}`);
for (const body of Object.values(CASES)) for (const size of [10, 1_000]) time(size, body);
for (const [name, body] of Object.entries(CASES)) {
  const costs = SIZES.map((size) => median(Array.from({ length: ROUNDS }, () => time(size, body))));
  console.log(`${name.padEnd(36)}${costs.map((ns) => ns.toFixed(1).padStart(11)).join("")}`);
  const points = SIZES.map((live, i) => ({ name, live, ns: costs[i], node: process.versions.node }));
  const file = process.env.LASTREF_BENCH_POINTS;
  if (file) appendFileSync(file, points.map((point) => `${JSON.stringify(point)}\n`).join(""));
}
if (sink < 0) console.log(sink);
