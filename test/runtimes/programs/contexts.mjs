import { AsyncAutoMemory, AutoMemory, defineAsyncResource, defineResource, Handle, SuppressedError } from "lastref";
import { check, done, equal, ok, refused, rejected } from "../harness.mjs";

const tick = () => new Promise((resolve) => setTimeout(resolve, 1));

function keys(fails = []) {
  const log = [];
  const Key = defineResource({
    kind: "key",
    open: (name) => name,
    free: (name) => {
      log.push(name);
      if (fails.includes(name)) throw new Error(name);
    },
  });
  return { Key, log };
}

function links(fails = []) {
  const log = [];
  const Link = defineAsyncResource({
    kind: "link",
    open: async (to) => {
      await tick();
      return to;
    },
    free: async (to) => {
      await tick();
      log.push(to);
      if (fails.includes(to)) throw new Error(to);
    },
  });
  return { Link, log };
}

await check("a context pays last in first out, on every path", () => {
  const { Key, log } = keys();
  const body = () =>
    AutoMemory.run((memory) => {
      for (const name of ["a", "b", "c"]) memory.open(Key, name);
      memory.defer(() => log.push("deferred"));
      memory.adopt("adopted", (value) => log.push(value));
      throw new RangeError("the body fails");
    });
  refused(body, "RangeError");
  equal(log, ["adopted", "deferred", "c", "b", "a"]);
});

await check("failing frees strand nothing, and nest as the language does it", () => {
  const { Key, log } = keys(["a", "c"]);
  using memory = new AutoMemory();
  for (const name of ["a", "b", "c"]) memory.open(Key, name);
  const error = refused(() => memory.dispose(), "SuppressedError");
  ok(error instanceof SuppressedError, "a SuppressedError");
  equal([error.error.message, error.suppressed.message, log, memory.disposed], ["a", "c", ["c", "b", "a"], true]);
  memory.dispose();
  refused(() => memory.open(Key, "d"), "ReferenceError");
});

await check("an early close leaves the context at once, in any order", () => {
  const { Key } = keys();
  using memory = new AutoMemory();
  const handles = Array.from({ length: 10_000 }, (_, i) => memory.open(Key, `${i}`));
  for (let i = 0; i < handles.length; i += 2) handles[i].decrRef();
  for (let i = handles.length - 1; i > 0; i -= 2) handles[i].decrRef();
  equal([memory.size, Key.stats.live], [0, 0]);
  for (let i = 0; i < 100_000; i++) memory.open(Key, "x").decrRef();
  equal([memory.size, Key.stats.peak], [0, 10_000]);
  memory.dispose();
});

await check("keep, hold, freeAll and move", () => {
  const { Key, log } = keys();
  using kept = AutoMemory.run((memory) => memory.keep(memory.open(Key, "kept")));
  using memory = new AutoMemory();
  const held = memory.hold(kept, "context");
  equal([kept.refCount, held.value, memory.size], [2, "kept", 1]);
  memory.freeAll();
  equal([kept.refCount, memory.size, memory.disposed], [1, 0, false]);
  memory.open(Key, "moved");
  using next = memory.move();
  equal([memory.disposed, next.size, log], [true, 1, []]);
  refused(() => next.keep(kept), "TypeError");
  next.dispose();
  equal(log, ["moved"]);
  equal([kept.decrRef(), log], [true, ["moved", "kept"]]);
});

await check("a context owns whatever can be disposed of", () => {
  const dispose = Symbol.dispose ?? Symbol.for("Symbol.dispose");
  const log = [];
  AutoMemory.run((memory) => {
    memory.use({ [dispose]: () => log.push("foreign") });
    equal([memory.use(null), memory.use(undefined)], [null, undefined]);
    refused(() => memory.use({}), "TypeError");
  });
  equal(log, ["foreign"]);
});

await check("an asynchronous body keeps the context open until it settles", async () => {
  const { Key, log } = keys();
  const result = AutoMemory.run(async (memory) => {
    const key = memory.open(Key, "a");
    await tick();
    return [key.value, log.length];
  });
  equal([await result, log], [["a", 0], ["a"]]);
});

await check("AsyncAutoMemory waits for each free, and keeps the body's error", async () => {
  const { Link, log } = links(["a"]);
  const body = AsyncAutoMemory.run(async (memory) => {
    await memory.open(Link, "a");
    await memory.open(Link, "b");
    memory.use(Handle.of("sync", (name) => void log.push(name)));
    throw new RangeError("the body fails");
  });
  const error = await rejected(body, "SuppressedError");
  equal([error.error.message, error.suppressed.message, log], ["a", "the body fails", ["sync", "b", "a"]]);
});

await check("an open that arrives after the end is freed and rejects", async () => {
  const { Link, log } = links();
  await using memory = new AsyncAutoMemory();
  const opening = memory.open(Link, "late");
  await memory.disposeAsync();
  await rejected(opening, "ReferenceError");
  equal([log, Link.stats.live], [["late"], 0]);
});

await check("an asynchronous context's end waits for a free that began before", async () => {
  const { Link, log } = links(["b"]);
  await using memory = new AsyncAutoMemory();
  const link = await memory.open(Link, "b");
  const closing = link.decrRef();
  await rejected(memory.disposeAsync(), "Error");
  equal(log, ["b"]);
  await rejected(closing, "Error");
});

done();
