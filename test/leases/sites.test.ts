import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { trackLeaks } from "../../src/leaks/index";
import { Leases } from "../../src/leases/index";
import { MemoryServer } from "./memory";

let tracking: Disposable;
beforeEach(() => {
  tracking = trackLeaks({ level: "full" });
});
afterEach(() => tracking[Symbol.dispose]());

const make = (): Leases => new Leases({ nodes: [new MemoryServer().send], ttl: 10_000 });
const HERE = /sites\.test\.ts/;

describe("Where sites are recorded", () => {
  it("a lease that was lost says where it was opened", async () => {
    const leases = make();
    const first = await leases.acquire("x");
    const second = await leases.force("x");
    const error = first.value.signal.reason;
    expect(error).toMatchObject({ code: "ERR_LEASE_LOST", reason: "taken", opened: expect.stringMatching(HERE) });
    expect(error.message).toMatch(/is held by somebody else\n {2}opened: .*sites\.test\.ts/);
    expect(error.closed).toBeUndefined();
    await first.decrRef();
    await second.decrRef();
    await leases.close();
  });

  it("who waits for a lease of this process hears where it was acquired", async () => {
    const leases = make();
    const holder = await leases.acquire("x");
    const error = await leases.acquire("x", { wait: 0 }).catch((error) => error);
    expect(error).toMatchObject({
      code: "ERR_LEASE_TIMEOUT",
      opened: expect.stringMatching(HERE),
      refCount: 1,
      owed: 0,
    });
    expect(error.message).toMatch(
      /it is held by this process, for \d+ ms more unless it is renewed\n {2}opened: .*sites/,
    );
    await holder.decrRef();
    await leases.close();
  });

  it("a lease that was given back says where, and by whom", async () => {
    const leases = make();
    const first = await leases.acquire("x");
    const handle = first.dup("worker");
    const lease = handle.value;
    await handle.decrRef();
    await first.decrRef();
    let thrown: unknown;
    try {
      lease.assertHeld();
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({
      code: "ERR_USE_AFTER_FREE",
      opened: expect.stringMatching(HERE),
      closed: expect.stringMatching(HERE),
    });
    expect((thrown as Error).message).toMatch(/it was given back\n {2}opened: .*\n {2}given back first: .*sites/);
    await leases.close();
  });
});
