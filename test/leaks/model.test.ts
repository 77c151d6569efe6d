import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AutoMemory, Handle } from "../../src/index";
import { liveHandles } from "../../src/leaks/index";
import { inCall, settleAll, tracked } from "./support";

const operation = fc.tuple(
  fc.constantFrom("open", "dup", "incrRef", "decrRef", "move", "use", "end", "dispose"),
  fc.nat({ max: 7 }),
);

/** Does what the operations say to up to eight handles and two contexts, and says what is still owed by whom. */
function play(operations: readonly [string, number][]): { owed: string[]; inContexts: number } {
  const handles: Handle<string>[] = [];
  const contexts = [new AutoMemory(), new AutoMemory()];
  const owner = new Map<Handle<string>, AutoMemory>();
  let opened = 0;
  const make = (): Handle<string> => {
    const label = `h${opened++}`;
    return Handle.of(label, () => {}, { kind: "key", label });
  };
  for (const [name, at] of operations) {
    const handle = handles[at % Math.max(1, handles.length)];
    if (name === "open" || handle === undefined) handles.push(make());
    else if (!handle.alive) continue;
    else if (name === "dup") handles.push(handle.dup(`d${opened++}`));
    else if (name === "incrRef") handle.incrRef();
    else if (name === "decrRef") handle.decrRef();
    else if (name === "dispose") handle[Symbol.dispose]();
    else if (name === "move") {
      owner.delete(handle);
      handles[handles.indexOf(handle)] = handle.move();
    } else if (name === "use") {
      if (owner.has(handle)) continue;
      const context = contexts[at % 2] as AutoMemory;
      owner.set(handle, context);
      context.use(handle);
    } else {
      const index = at % 2;
      (contexts[index] as AutoMemory).dispose();
      for (const [owned, context] of owner) if (context === contexts[index]) owner.delete(owned);
      contexts[index] = new AutoMemory();
    }
  }
  const owing = handles.filter((handle) => handle.owed > 0);
  const free = owing.filter((handle) => !owner.has(handle));
  const inContexts = owing.length - free.length;
  return { owed: free.map((handle) => `${handle.label} ${handle.owed}`).sort(), inContexts };
}

describe("the detector", () => {
  it("reports exactly the accounts that owe when everything is dropped, whatever was done before", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 40 }), async (operations) => {
        await tracked({}, async (leaks) => {
          const expected = inCall(() => {
            const result = play(operations);
            expect(liveHandles()).toHaveLength(result.owed.length + result.inContexts);
            return result;
          });
          await settleAll();
          const dropped = leaks.filter(({ verdict }) => verdict === "dropped");
          const alone = dropped.filter(({ kind }) => kind === "key").map(({ label, owed }) => `${label} ${owed}`);
          const listed = dropped.flatMap(({ kind, handles }) => (kind === "context" ? handles : []));
          expect(alone.sort()).toEqual(expected.owed);
          expect(listed).toHaveLength(expected.inContexts);
          expect(liveHandles()).toEqual([]);
        });
      }),
      { numRuns: 60 },
    );
  });

  it("registers nothing that reaches a handle or a value", async () => {
    const held: unknown[] = [];
    const register = FinalizationRegistry.prototype.register;
    FinalizationRegistry.prototype.register = function (this: FinalizationRegistry<unknown>, target, value, token) {
      held.push(value);
      register.call(this, target, value, token as WeakKey);
    };
    try {
      await tracked({}, async () => {
        const value = { big: "value" };
        const handle = Handle.of(value, () => {}, { kind: "key" });
        const memory = new AutoMemory();
        memory.use(handle.dup("other"));
        memory.use(handle.move());
        await new Promise((resolve) => setImmediate(resolve));
        const seen = new Set<unknown>();
        const reach = (from: unknown): void => {
          if (typeof from !== "object" || from === null || seen.has(from)) return;
          seen.add(from);
          expect(from).not.toBe(value);
          expect(from instanceof Error).toBe(false);
          for (const key of Reflect.ownKeys(from)) reach((from as Record<PropertyKey, unknown>)[key]);
          if (from instanceof Map) for (const [key, mapped] of from) [key, mapped].forEach(reach);
        };
        held.forEach(reach);
        expect(held.length).toBeGreaterThanOrEqual(4);
        expect(seen.has(handle) || seen.has(memory)).toBe(false);
        memory.dispose();
      });
    } finally {
      FinalizationRegistry.prototype.register = register;
    }
  });
});
