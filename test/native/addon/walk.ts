// A random walk over blocks of an addon: node test/run-ts.mjs test/native/addon/walk.ts <addon> <steps> <seed> [forget]
//
// After every thousand steps the addon's counts of malloc and free must be those of `stats`. With "forget" the last three
// handles are not given back: the addon must then say so when the process ends.
import { createRequire } from "node:module";
import process from "node:process";
import { AutoMemory, defineResource, type Handle, RefCountError, UseAfterFreeError, type WeakHandle } from "lastref";

interface Addon {
  allocate(size: number): number;
  release(number: number): void;
  read(number: number): number;
  counts(): { mallocs: number; frees: number; bytes: number };
}

const [path = "", given = "100000", seed = "1", last] = process.argv.slice(2);
const steps = Number(given);
const addon = createRequire(import.meta.url)(path) as Addon;
const Block = defineResource({
  kind: "block",
  open: (size: number) => addon.allocate(size),
  free: (number) => addon.release(number),
  bytes: (_number, size = 0) => size,
});

/** Mulberry32: the same walk for the same seed, everywhere. */
let state = Number(seed) >>> 0;
function random(below: number): number {
  state = (state + 0x6d2b79f5) >>> 0;
  let mixed = Math.imul(state ^ (state >>> 15), state | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
}

const held: Handle<number>[] = [];
const spent: Handle<number>[] = [];
const weak: WeakHandle<Handle<number>>[] = [];
let refused = 0;
let step = 0;

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`Step ${step} of the walk with seed ${seed}: ${what}`);
}

function drop(index: number): Handle<number> {
  const handle = held[index] as Handle<number>;
  held[index] = held[held.length - 1] as Handle<number>;
  held.pop();
  return handle;
}

function remember<T>(list: T[], thing: T): void {
  if (list.length < 100) list.push(thing);
  else list[random(100)] = thing;
}

function refuses(call: () => unknown, Refusal: typeof RefCountError | typeof UseAfterFreeError): void {
  try {
    call();
  } catch (error) {
    check(error instanceof Refusal, `${error}`);
    refused++;
    return;
  }
  check(false, "a spent account was paid from");
}

const moves: ((handle: Handle<number>, index: number) => void)[] = [
  () => held.push(Block.open(1 + random(256))),
  () => held.push(Block.open(1 + random(256))),
  (handle) => held.push(handle.dup()),
  (handle) => handle.incrRef().decrRef(),
  (handle, index) => {
    held[index] = handle.move();
  },
  (_, index) => {
    const handle = drop(index);
    handle.decrRef();
    remember(spent, handle);
  },
  (_, index) => remember(spent, closed(drop(index))),
  (handle) => check(addon.read(handle.value) === (handle.value & 0xff), "the block is another one"),
  (handle) => remember(weak, handle.weak()),
  () => {
    const found = weak[random(weak.length || 1)]?.upgrade();
    if (found) held.push(found);
  },
  (handle, index) => {
    const read = handle.borrow((number, loan) => {
      closed(drop(index));
      return [addon.read(number), addon.read(loan.value)];
    });
    check(read[0] === read[1], "a borrow read two blocks");
  },
  () => {
    const victim = spent[random(spent.length || 1)];
    if (victim) refuses(() => victim.decrRef(), RefCountError);
  },
  () => {
    const victim = spent[random(spent.length || 1)];
    if (victim) refuses(() => victim.value, UseAfterFreeError);
  },
  (handle) => {
    const kept = AutoMemory.run((memory) => {
      memory.hold(handle).decrRef();
      memory.open(Block, 16);
      memory.open(Block, 8).decrRef();
      const block = memory.open(Block, 32);
      if (random(2) === 0) return memory.keep(block);
      memory.freeAll();
      memory.open(Block, 64);
      return undefined;
    });
    if (kept) held.push(kept);
  },
];

function closed(handle: Handle<number>): Handle<number> {
  handle[Symbol.dispose]();
  handle[Symbol.dispose]();
  return handle;
}

function agree(): void {
  const { opened, freed, bytes } = Block.stats;
  const counted = addon.counts();
  check(
    counted.mallocs === opened && counted.frees === freed && counted.bytes === bytes,
    `stats says ${JSON.stringify(Block.stats)}, the addon ${JSON.stringify(counted)}`,
  );
}

for (step = 1; step <= steps; step++) {
  if (held.length === 0) held.push(Block.open(1));
  const index = random(held.length);
  moves[random(moves.length)]?.(held[index] as Handle<number>, index);
  if (held.length > 2000) while (held.length > 200) closed(drop(random(held.length)));
  if (step % 1000 === 0) agree();
}
const { peak } = Block.stats;
if (last === "forget") while (Block.stats.live > 3) closed(drop(0));
else while (held.length > 0) closed(drop(random(held.length)));
agree();
const { mallocs } = addon.counts();
console.log(`${steps} steps: ${mallocs} blocks, ${peak} at once, ${refused} calls refused, ${Block.stats.live} live`);
