import { describe, expect, it } from "vitest";
import { AutoMemory } from "../src/auto-memory";
import { RefCountError } from "../src/errors";
import { Handle } from "../src/handle";
import { defineResource } from "../src/resource";
import { RecordingTracker } from "./support/recording-tracker";

// What goes wrong where a reference is handed to something that runs later: a timer, a blocked client, a promise.

const nextTurn = (body: () => void): Promise<void> =>
  new Promise((resolve, reject) => {
    setImmediate(() => {
      try {
        body();
        resolve();
      } catch (error) {
        reject(error);
      }
    });
  });

describe("a name that a timer keeps", () => {
  it("has the count it had before, once the callback has run", async () => {
    const name = Handle.of("user:1", () => {});
    const kept = name.dup("timer");
    const ran = nextTurn(() => {
      expect(kept.value).toBe("user:1");
      kept.decrRef();
    });
    expect(name.refCount).toBe(2);
    await ran;
    expect(name.refCount).toBe(1);
  });

  it("outlives who scheduled it", async () => {
    const freed: string[] = [];
    let kept: Handle<string> | undefined;
    AutoMemory.run((memory) => {
      const name = memory.use(Handle.of("user:1", (v) => void freed.push(v)));
      kept = memory.keep(memory.hold(name, "timer"));
    });
    expect(freed).toEqual([]);
    await nextTurn(() => kept?.decrRef());
    expect(freed).toEqual(["user:1"]);
  });

  it("is seen by a tracker to be owed still when the callback returns early, and not when it gives back", async () => {
    for (const early of [true, false]) {
      const tracker = new RecordingTracker();
      const kept = tracker.during(() => Handle.of("user:1", () => {}).dup("timer"));
      await nextTurn(() => {
        if (early) return;
        kept.decrRef();
      });
      expect(tracker.log.includes("timer closed")).toBe(!early);
    }
  });
});

describe("a callback that cancels itself while it runs", () => {
  it("frees what it keeps once: the dispose of the runner finds nothing to do", () => {
    const freed: string[] = [];
    const timer = Handle.of("data", (v) => void freed.push(v));
    const cancel = (): void => void timer.decrRef();
    {
      using running = timer;
      cancel();
      expect(running.alive).toBe(false);
    }
    expect(freed).toEqual(["data"]);
    expect(cancel).toThrow(RefCountError);
    expect(freed).toEqual(["data"]);
  });

  it("keeps its data until it returns when it runs inside a borrow", () => {
    const log: string[] = [];
    const timer = Handle.of("data", (v) => void log.push(`freed ${v}`));
    timer.borrow((data) => {
      timer.decrRef();
      log.push(`still has ${data}`);
    });
    expect(log).toEqual(["still has data", "freed data"]);
  });
});

describe("a blocked client", () => {
  const Blocked = () => {
    const reasons: string[] = [];
    const Client = defineResource({
      kind: "blocked-client",
      open: (name: string) => ({ name, reason: "completed" }),
      free: (client) => void reasons.push(client.reason),
      label: (client) => client.name,
    });
    return { Client, reasons };
  };

  it("that disconnects is freed once, with that reason; a later completion is a clean error", () => {
    const { Client, reasons } = Blocked();
    const client = Client.open("a");
    const completion = client.dup("completion");
    client.value.reason = "disconnected";
    Client.revoke(client);
    expect(() => completion.value).toThrow('Cannot read blocked-client "a": it was revoked by its opener');
    expect(completion.decrRef()).toBe(false);
    expect(() => completion.decrRef()).toThrow(RefCountError);
    client.decrRef();
    expect([reasons, Client.stats.live]).toEqual([["disconnected"], 0]);
  });

  it("holds an unload back until it is completed", () => {
    const { Client } = Blocked();
    const unload = (): void => {
      if (Client.stats.live > 0) throw new Error(`Cannot unload: ${Client.stats.live} ${Client.kind} live`);
    };
    const client = Client.open("a");
    expect(unload).toThrow("Cannot unload: 1 blocked-client live");
    client.decrRef();
    expect(unload).not.toThrow();
  });
});

describe("a promised reply", () => {
  it.each([
    ["the reply first", [0, 1]],
    ["the executor first", [1, 0]],
  ])("is owed by the reply and by its executor, and ends once: %s", (_, order) => {
    const freed: string[] = [];
    const reply = Handle.of("private data", (v) => void freed.push(v), { kind: "reply" });
    const accounts = [reply, reply.dup("executor")];
    expect(reply.refCount).toBe(2);
    expect(order.map((i) => accounts[i]?.decrRef())).toEqual([false, true]);
    expect(freed).toEqual(["private data"]);
  });

  it("that is aborted before its completion never runs its handler, and gives its data back", async () => {
    const log: string[] = [];
    const reply = Handle.of("private data", (v) => void log.push(`returned ${v}`), { kind: "reply" });
    const weak = reply.weak();
    const completed = nextTurn(() => {
      const up = weak.upgrade();
      if (up === undefined) return;
      log.push("handler");
      up.decrRef();
    });
    expect(reply.decrRef()).toBe(true);
    await completed;
    expect(log).toEqual(["returned private data"]);
  });
});
