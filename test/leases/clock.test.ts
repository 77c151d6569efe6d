import { mock } from "node:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Leases, type SendCommand } from "../../src/leases/index";
import { MemoryServer } from "./memory";
import { until } from "./servers";

const ok: SendCommand = async ([, , keys]) => (keys === "2" ? [1, 1] : 1);

afterEach(() => {
  mock.timers.reset();
  vi.useRealTimers();
});

/** Takes a lease under timers that a test has put in the place of the real ones, and never runs. */
const fakes: Record<string, (warm: () => Promise<unknown>) => Promise<void>> = {
  "node:test": async (warm) => {
    mock.timers.enable({ apis: ["setTimeout"] });
    await warm();
    mock.timers.reset();
  },
  vitest: async (warm) => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    await warm();
    vi.useRealTimers();
  },
};

describe.each(Object.entries(fakes))("After a lease under the timers of %s", (_, fake) => {
  it("another one is renewed", async () => {
    const server = new MemoryServer();
    const leases = new Leases({ nodes: [server.send], ttl: 300 });
    await fake(async () => (await new Leases({ nodes: [ok], ttl: 300 }).acquire("warm")).decrRef());
    const handle = await leases.acquire("x");
    await until("it is renewed", () => server.sent.includes("EXTEND"), 2000);
    await handle.decrRef();
    await leases.close();
  });

  it("another one of the same leases is told that no answer came, and is lost", async () => {
    let answers = true;
    const leases = new Leases({ nodes: [(args) => (answers ? ok(args) : new Promise(() => {}))], ttl: 300 });
    await fake(async () => (await leases.acquire("warm")).decrRef());
    const handle = await leases.acquire("x");
    answers = false;
    await until("it is lost", () => handle.value.signal.aborted, 2000);
    expect(handle.value.signal.reason.reason).toBe("expired");
    const { released } = handle.value;
    await handle.decrRef();
    expect(await released).toBe("unknown");
  });

  it("one that was taken before it is renewed all the same", async () => {
    const server = new MemoryServer();
    const leases = new Leases({ nodes: [server.send], ttl: 300 });
    const handle = await leases.acquire("x");
    await fake(async () => (await new Leases({ nodes: [ok], ttl: 300 }).acquire("warm")).decrRef());
    await until("it is renewed", () => server.sent.includes("EXTEND"), 2000);
    await handle.decrRef();
    await leases.close();
  });
});

describe("Under the timers of node:test that were taken away and put back", () => {
  it("who asks is told that no answer came", async () => {
    let answers = true;
    const leases = new Leases({ nodes: [(args) => (answers ? ok(args) : new Promise(() => {}))], commandTimeout: 50 });
    mock.timers.enable({ apis: ["setTimeout"] });
    await (await leases.acquire("warm")).decrRef();
    mock.timers.reset();
    // Long enough for a timer that was set before to be given up.
    const end = performance.now() + 120;
    while (performance.now() < end);
    mock.timers.enable({ apis: ["setTimeout"] });
    answers = false;
    const asked = leases.acquire("x", { wait: 0 }).catch((error) => error);
    const told = performance.now() + 51;
    while (performance.now() < told);
    mock.timers.tick(51);
    // The process stood still, so it looks once more.
    mock.timers.tick(1);
    expect(await asked).toMatchObject({ cause: { message: "EVALSHA was not answered within 50 ms" } });
  });
});
