import {
  AsyncFreeError,
  defineAsyncResource,
  defineResource,
  Handle,
  LastrefError,
  MAX_REFS,
  RefCountError,
  setPanic,
} from "lastref";
import { check, done, equal, ok, refused, rejected } from "../harness.mjs";

const tick = () => new Promise((resolve) => setTimeout(resolve, 1));

function counted(kind = "thing") {
  const log = [];
  const Thing = defineResource({
    kind,
    open: (name) => name,
    free: (name) => void log.push(name),
    label: (name) => name,
  });
  return { Thing, log };
}

await check("the last account frees, exactly once, at that moment", () => {
  const { Thing, log } = counted();
  const first = Thing.open("a");
  const second = first.dup("second");
  equal([first.refCount, first.owed, first.decrRef(), log], [2, 1, false, []]);
  equal([second.value, second.isSole(), second.decrRef(), log], ["a", true, true, ["a"]]);
  equal(Thing.stats, { live: 0, opened: 1, freed: 1, peak: 1, bytes: 0 });
});

await check("an account cannot be overdrawn, also while others hold on", () => {
  const { Thing, log } = counted("key");
  const first = Thing.open("user:1");
  using second = first.dup();
  first.decrRef();
  const error = refused(() => first.decrRef(), "ERR_REFCOUNT");
  ok(error instanceof RefCountError && error instanceof LastrefError && error instanceof Error, "a RefCountError");
  ok(error.message.startsWith("decrRefCount against refcount <= 0"), "the words of the assertion");
  ok(error.message.includes('key "user:1"') && error.stack.includes("RefCountError"), "kind, label and name");
  equal(
    [error.kind, error.label, error.refCount, error.owed, second.value, log],
    ["key", "user:1", 1, 0, "user:1", []],
  );
});

await check("use after free, of a moved account and of a revoked resource is refused by name", () => {
  const { Thing } = counted();
  const freed = Thing.open("a");
  freed.decrRef();
  for (const use of [() => freed.value, () => freed.incrRef(), () => freed.dup(), () => freed.borrow(() => 1)]) {
    refused(use, "ERR_USE_AFTER_FREE");
  }
  const moved = Thing.open("b");
  const here = moved.move();
  refused(() => moved.decrRef(), "ERR_MOVED");
  equal([moved.alive, here.value, here.decrRef()], [false, "b", true]);
  const revoked = Thing.open("c");
  Thing.revoke(revoked);
  refused(() => revoked.value, "ERR_REVOKED");
  equal([revoked.decrRef(), Thing.stats.live], [false, 0]);
});

await check("a count never wraps", () => {
  using handle = Handle.of("a", () => {});
  equal(MAX_REFS, 2 ** 31 - 1);
  for (let i = 0; i < 1000; i++) handle.incrRef();
  equal([handle.owed, handle.refCount], [1001, 1001]);
  for (let i = 0; i < 1000; i++) equal(handle.decrRef(), false);
  equal(handle.decrRef(), true);
});

await check("a borrow keeps the resource to its end, awaits included", async () => {
  const { Thing, log } = counted();
  const thing = Thing.open("a");
  let loan;
  const read = thing.borrow(async (value, lent) => {
    loan = lent;
    await tick();
    return [value, lent.value, log.length];
  });
  equal([thing.decrRef(), log, loan.value], [true, [], "a"]);
  refused(() => loan.decrRef(), "ERR_LOAN");
  equal([await read, log], [["a", "a", 0], ["a"]]);
  refused(() => loan.value, "ERR_USE_AFTER_FREE");
});

await check("a weak handle gives an account, or undefined once it is too late", () => {
  const { Thing } = counted();
  let weak;
  {
    using thing = Thing.open("a");
    weak = thing.weak();
    using again = weak.upgrade();
    equal([thing.refCount, again.value, weak.alive], [2, "a", true]);
  }
  equal([weak.alive, weak.upgrade()], [false, undefined]);
});

await check("a free that throws or re-enters meets a resource already freed", () => {
  let handle;
  let seen;
  const Failing = defineResource({
    kind: "failing",
    free: () => {
      seen = [handle.alive, refused(() => handle.decrRef(), "ERR_REFCOUNT").refCount];
      throw new Error("the free fails");
    },
  });
  handle = Failing.wrap("a");
  ok(refused(() => handle.decrRef(), "Error").message === "the free fails", "the free's own error");
  equal([seen, Failing.stats.live], [[false, 0], 0]);
});

await check("a free that returns a promise says so", () => {
  const Late = defineResource({ kind: "late", free: async () => {} });
  const late = Late.wrap("a");
  ok(refused(() => late.decrRef(), "ERR_ASYNC_FREE") instanceof AsyncFreeError, "an AsyncFreeError");
});

await check("an asynchronous free is waited for, by every caller of the same free", async () => {
  const log = [];
  const Link = defineAsyncResource({
    kind: "link",
    open: async (to) => to,
    free: async (to) => {
      await tick();
      log.push(to);
    },
  });
  const link = await Link.open("a");
  const other = link.dup();
  equal([await link.decrRef(), log], [false, []]);
  const freed = other.decrRef();
  equal([other.alive, log], [false, []]);
  refused(() => other.decrRef(), "ERR_REFCOUNT");
  equal([await freed, log, Link.stats.live], [true, ["a"], 0]);
  const Broken = defineAsyncResource({ kind: "broken", free: async () => Promise.reject(new RangeError("no")) });
  await rejected(Broken.wrap(1).decrRef(), "RangeError");
  {
    await using again = await Link.open("b");
    await using shared = again.dup();
    equal([shared.value, shared.refCount, log], ["b", 2, ["a"]]);
  }
  equal(log, ["a", "b"]);
});

await check("disposal pays what is owed or does nothing, under the runtime's symbol", () => {
  const { Thing, log } = counted();
  const thing = Thing.open("a").incrRef();
  const dispose = Symbol.dispose ?? Symbol.for("Symbol.dispose");
  thing[dispose]();
  equal([thing.owed, log], [1, []]);
  thing[dispose]();
  thing[dispose]();
  equal([thing.owed, log], [0, ["a"]]);
});

await check("an immortal resource is never counted", () => {
  const pi = Handle.immortal(3.14, { kind: "constant", label: "pi" });
  for (let i = 0; i < 5; i++) pi.decrRef();
  equal([pi.value, pi.refCount, pi.alive], [3.14, Number.POSITIVE_INFINITY, true]);
});

await check("setPanic decides what an overdrawn account does", () => {
  const { Thing } = counted();
  const thing = Thing.open("a");
  thing.decrRef();
  const heard = [];
  setPanic((error) => heard.push(error.code));
  try {
    equal([thing.decrRef(), heard], [false, ["ERR_REFCOUNT"]]);
  } finally {
    setPanic("throw");
  }
  refused(() => thing.decrRef(), "ERR_REFCOUNT");
});

await check("a copy of a handle is no handle", () => {
  const { Thing } = counted();
  using thing = Thing.open("a");
  equal(structuredClone(thing), {});
  refused(() => new Proxy(thing, {}).decrRef(), "TypeError");
  equal([thing.refCount, thing.decrRef()], [1, true]);
});

await check("the realm's slot is the only global, not enumerable", () => {
  const slot = Object.getOwnPropertyDescriptor(globalThis, Symbol.for("lastref.realm.v1"));
  equal([slot.enumerable, slot.writable, slot.configurable], [false, false, false]);
  equal(
    Object.keys(globalThis).filter((name) => /lastref/i.test(name)),
    [],
  );
});

await check("100,000 random steps keep the counts of a model", () => {
  const { Thing, log } = counted();
  let state = 42;
  const random = (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
  const held = [];
  let opened = 0;
  for (let step = 0; step < 100_000; step++) {
    const index = random(held.length || 1);
    const [handle, model] = held[index] ?? [];
    const action = handle === undefined ? 0 : random(5);
    if (action === 0) held.push([Thing.open(`${opened++}`), { count: 1 }]);
    else if (action === 1) {
      held.push([handle.dup(), model]);
      model.count++;
    } else if (action === 2) held[index] = [handle.move(), model];
    else {
      held[index] = held.at(-1);
      held.pop();
      const last = --model.count === 0;
      if (handle.decrRef() !== last) throw new Error(`step ${step}: the wrong account was the last`);
    }
  }
  for (const [handle] of held) handle.decrRef();
  equal([Thing.stats.live, Thing.stats.opened, log.length], [0, opened, opened]);
});

done();
