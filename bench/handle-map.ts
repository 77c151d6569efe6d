// What does a keyed map cost, beside a Map with a counter by hand and Effect's RcMap, and does it stay so with 100,000 keys?
import { Effect, RcMap, Scope } from "effect";
import { type AsyncHandle, Handle, HandleMap } from "lastref";
import { median, medians, print, type Row } from "./measure";

const ROUNDS = 100;
const rows: Row[] = [];
const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});

{
  const byHand = new Map([["a", Handle.of(1, () => {})]]);
  const map = new HandleMap<string, number>({ open: () => 1 });
  const held = await map.acquire("a");
  const scope = Scope.makeUnsafe();
  const inScope = Effect.provideService(Scope.Scope, scope);
  const rcMap = await Effect.runPromise(inScope(RcMap.make({ lookup: (_: string) => Effect.succeed(1) })));
  // The key is live in both: one holder stays.
  await Effect.runPromise(inScope(RcMap.get(rcMap, "a")));
  const useOnce = Effect.scoped(RcMap.get(rcMap, "a"));
  const ns = await medians({
    byHand: async () => {
      for (let i = 0; i < ROUNDS; i++) {
        const handle = await Promise.resolve(byHand.get("a")?.incrRef());
        handle?.decrRef();
      }
    },
    lastref: async () => {
      for (let i = 0; i < ROUNDS; i++) {
        const handle = await map.acquire("a");
        handle.decrRef();
      }
    },
    // In one fiber for all rounds, which is the cheapest way to use it.
    effect: () => Effect.runPromise(Effect.repeat(useOnce, { times: ROUNDS - 1 })),
  });
  const row = { question: "acquire + release of a live key", ours: ns.lastref / ROUNDS, unit: "ns" };
  rows.push({ ...row, against: "Map.get, incrRef, decrRef, promise", theirs: ns.byHand / ROUNDS, target: 3 });
  rows.push({ ...row, against: "Effect's RcMap", theirs: ns.effect / ROUNDS, target: 0.2 });
  await held.decrRef();
}

{
  const few = await perKey(10_000);
  const many = await perKey(100_000);
  const row = { against: "with 10,000", target: 1.5 };
  rows.push({ ...row, question: "per key with 100,000 keys", ours: many.ns, unit: "ns", theirs: few.ns });
  rows.push({ ...row, question: "per key with 100,000 keys", ours: many.bytes, unit: "bytes", theirs: few.bytes });
}

print("HandleMap", rows);

/** Processor time to acquire and give back each of `size` keys, and the bytes of a held one with its handle. */
async function perKey(size: number): Promise<{ ns: number; bytes: number }> {
  const names = Array.from({ length: size }, (_, i) => `key ${i}`);
  const times: number[] = [];
  const bytes: number[] = [];
  for (let round = 0; round < 5; round++) {
    const map = new HandleMap<string, number>({ open: () => 1 });
    const handles: AsyncHandle<number>[] = new Array(size);
    collect();
    const before = process.memoryUsage().heapUsed;
    const start = process.cpuUsage();
    for (let i = 0; i < size; i++) handles[i] = await map.acquire(names[i] as string);
    const opening = process.cpuUsage(start);
    collect();
    bytes.push((process.memoryUsage().heapUsed - before) / size);
    const again = process.cpuUsage();
    for (const handle of handles) handle.decrRef();
    const closing = process.cpuUsage(again);
    times.push(((opening.user + opening.system + closing.user + closing.system) * 1e3) / size);
  }
  return { ns: median(times), bytes: median(bytes) };
}
