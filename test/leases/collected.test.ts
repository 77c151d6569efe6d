import { describe, expect, it } from "vitest";
import type { AsyncHandle } from "../../src/index";
import { type Leak, trackLeaks } from "../../src/leaks/index";
import { type Lease, Leases } from "../../src/leases/index";
import { type AccountRecord, realm } from "../../src/tracker";
import { keyOf, raw, send } from "./fixture";
import { pause, until } from "./servers";

const gc = (globalThis as unknown as { gc(): void }).gc;
const TTL = 600;

const exists = async (name: string): Promise<boolean> => (await raw.do("EXISTS", keyOf(name))) === 1;

/** Collects again and again while it waits, as a busy program does. */
async function collectUntil(what: string, condition: () => unknown): Promise<void> {
  await until(what, async () => {
    gc();
    return condition();
  });
}

/** Holds a lease for several of its lives while garbage is collected: it has to be renewed all along. */
async function outlives(name: string): Promise<void> {
  const end = performance.now() + 3 * TTL;
  while (performance.now() < end) {
    gc();
    expect(await exists(name)).toBe(true);
    await pause(20);
  }
}

describe("A lease that is dropped", () => {
  it("stops being renewed once it was collected, and its key goes", async () => {
    await using leases = new Leases({ nodes: [send], ttl: TTL });
    const drop = async (): Promise<void> => {
      await leases.acquire("dropped");
    };
    await drop();
    await collectUntil("the key is gone", async () => !(await exists("dropped")));
  });

  it("stops being renewed although its value is kept: the account is what counts", async () => {
    await using leases = new Leases({ nodes: [send], ttl: TTL });
    const loose = async (): Promise<Lease> => (await leases.acquire("loose")).value;
    const kept = await loose();
    await collectUntil("the key is gone", async () => !(await exists("loose")));
    expect(kept.held).toBe(false);
    expect(kept.signal.reason.reason).toBe("expired");
  });

  it("is collected although a listener of its own signal holds its handle", async () => {
    await using leases = new Leases({ nodes: [send], ttl: TTL });
    const drop = async (): Promise<void> => {
      const handle = await leases.acquire("knotted");
      handle.value.signal.addEventListener("abort", () => handle.decrRef());
      handle.value.released.then(() => handle.label);
    };
    await drop();
    await collectUntil("the key is gone", async () => !(await exists("knotted")));
  });

  it("still aborts a signal that was kept", async () => {
    await using leases = new Leases({ nodes: [send], ttl: TTL });
    const drop = async (): Promise<AbortSignal> => (await leases.acquire("signal")).value.signal;
    const signal = await drop();
    await collectUntil("the loss is heard of", () => signal.aborted);
    expect(signal.reason).toMatchObject({ code: "ERR_LEASE_LOST", reason: "expired", refCount: 0 });
  });

  it("lets the next one in, in the same process too", async () => {
    await using leases = new Leases({ nodes: [send], ttl: TTL });
    const drop = async (): Promise<void> => {
      await leases.acquire("succeeded");
    };
    await drop();
    const waiting = leases.acquire("succeeded");
    let next: AsyncHandle<Lease> | undefined;
    waiting.then((handle) => {
      next = handle;
    });
    await collectUntil("the next one has it", () => next !== undefined);
    await next?.decrRef();
  });
});

describe("A lease that is kept", () => {
  it("is renewed through collections", async () => {
    await using leases = new Leases({ nodes: [send], ttl: TTL });
    const handle = await leases.acquire("kept");
    await outlives("kept");
    await handle.decrRef();
  });

  it("is renewed for a dup after its first handle is gone", async () => {
    await using leases = new Leases({ nodes: [send], ttl: TTL });
    const dup = await (async () => {
      const handle = await leases.acquire("dup");
      const other = handle.dup("other");
      await handle.decrRef();
      return other;
    })();
    await outlives("dup");
    expect(await dup.decrRef()).toBe(true);
  });

  it("tells who waits for its release only by the promise", async () => {
    await using leases = new Leases({ nodes: [send], ttl: TTL });
    const { released, given } = await (async () => {
      const handle = await leases.acquire("promised");
      const { released } = handle.value;
      return { released, given: handle.decrRef() };
    })();
    gc();
    await given;
    gc();
    expect(await released).toBe("released");
  });
});

describe("kind lease", () => {
  it("is watched at every level of tracking", async () => {
    const opened: { name: string; label: string; watch: boolean }[] = [];
    const handles: WeakRef<object>[] = [];
    const closed: string[] = [];
    const { watcher } = realm;
    const record: AccountRecord = {
      counted() {},
      closed: () => closed.push("closed"),
      moved() {},
      owned() {},
      escaped() {},
      refused: (Refusal, message, facts) => new Refusal(message, facts),
      sites: () => ({}),
    };
    realm.watcher = {
      adopts: false,
      wants: () => false,
      opened(facts) {
        const { kind, label } = facts;
        opened.push({ name: kind.name, label, watch: kind.watch });
        return {
          account(handle) {
            handles.push(new WeakRef(handle));
            return record;
          },
          freed() {},
        };
      },
      context: () => undefined,
    };
    try {
      await using leases = new Leases({ nodes: [send], ttl: TTL });
      const handle = await leases.acquire("watched");
      expect(opened).toEqual([{ name: "lease", label: "watched", watch: true }]);
      await handle.decrRef();
      expect(closed).toEqual(["closed"]);
      const drop = async (): Promise<void> => {
        await leases.acquire("unwatched");
      };
      await drop();
      await collectUntil("the dropped one was collected", () => handles.length === 2 && !handles[1]?.deref());
    } finally {
      realm.watcher = watcher;
    }
  });
});

describe("The report of a lease that was dropped", () => {
  // Also where nothing else is watched: at level count, and with a site at level full.
  it.each(["count", "full"] as const)(
    "comes once, with its name, and never for one that was given back (level %s)",
    async (level) => {
      const leaks: Leak[] = [];
      using _tracking = trackLeaks({ level, onLeak: (leak) => leaks.push(leak) });
      await using leases = new Leases({ nodes: [send], ttl: TTL });
      const use = async (): Promise<void> => {
        await (await leases.acquire("given-back")).decrRef();
        await leases.acquire("forgotten");
      };
      await use();
      await collectUntil("it is reported", () => leaks.length > 0);
      await collectUntil("the key is gone", async () => !(await exists("forgotten")));
      for (let i = 0; i < 3; i++) {
        gc();
        await pause(10);
      }
      expect(leaks).toMatchObject([{ verdict: "dropped", kind: "lease", label: "forgotten", owed: 1 }]);
      if (level === "full") expect(leaks[0]?.opened).toMatch(/^use \(.*collected.test.ts/);
    },
  );
});
