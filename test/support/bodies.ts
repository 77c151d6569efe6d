import { AsyncAutoMemory } from "../../src/async-auto-memory";
import { AutoMemory } from "../../src/auto-memory";
import { Handle } from "../../src/handle";
import type { EntryLog } from "../../src/kinds/entry-log";
import type { AsyncResource } from "../../src/resource";

// Functions as users write them, to be forced out of at every statement.

/** Opens three, shares one, keeps none. */
export function inContext(free: (name: string) => void, opened: (name: string) => string): void {
  AutoMemory.run((memory) => {
    const first = memory.use(Handle.of(opened("a"), free));
    for (const name of ["b", "c"]) {
      const handle = memory.use(Handle.of(opened(name), free));
      if (name === "c") memory.hold(handle);
      else handle.decrRef();
    }
    if (first.value !== "a") return;
    memory.freeAll();
    memory
      .use(Handle.of(opened("d"), free))
      .incrRef()
      .decrRef();
  });
}

/** Opens one after the other, and shares one. */
export async function inAsyncContext(links: AsyncResource<string, [string]>): Promise<void> {
  await AsyncAutoMemory.run(async (memory) => {
    const first = await memory.open(links, "a");
    const second = await memory.open(links, "b");
    memory.hold(second);
    await first.borrow(async (value) => {
      if (value !== "a") return;
      await memory.freeAll();
    });
    await memory.open(links, "d");
  });
}

/** Forgets a reference on every way out but one. */
export function forgetful(handle: Handle<string>): string {
  const held = handle.dup();
  const value = held.value;
  held.decrRef();
  return value;
}

/** Spends a reference of its caller's where it fails half-way. */
export function pays(handle: Handle<string>, work: () => void): void {
  handle.incrRef();
  try {
    work();
  } catch {
    handle.decrRef();
  }
  handle.decrRef();
}

export type Prepared = "sent" | "ENOENT" | "ERANGE" | "EREADONLY";

/** What a replicator does with the next entry for a follower, in the shape of BRaft's prepare_entry. */
export function prepareEntry(log: EntryLog, at: { readonlyIndex: number }, index: number): Prepared {
  if (index > log.lastIndex) return "ERANGE";
  using entry = log.get(index, "prepare_entry");
  if (entry === undefined) return "ENOENT";
  if (index > at.readonlyIndex) {
    if (entry.value.type !== "configuration") return "EREADONLY";
    at.readonlyIndex = index;
  }
  return "sent";
}
