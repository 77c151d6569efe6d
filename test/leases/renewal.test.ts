import { describe, expect, it } from "vitest";
import { Leases } from "../../src/leases/index";
import { gate, MemoryServer, turns } from "./memory";
import { keyOf, until } from "./servers";

const silence = new Promise<never>(() => {});

describe("The renewal of a lease with a ttl of its own", () => {
  it("is sent again after a third of that, however long a command may take", async () => {
    const server = new MemoryServer();
    let renewals = 0;
    server.reply = (command) => (command === "EXTEND" && ++renewals === 1 ? silence : undefined);
    const leases = new Leases({ nodes: [server.send], ttl: 10_000 });
    const handle = await leases.acquire("x", { ttl: 900 });
    const { deadline, signal } = handle.value;
    await until("it was renewed, or is lost", () => handle.value.deadline > deadline || signal.aborted);
    expect(signal.aborted).toBe(false);
    expect(renewals).toBe(2);
    await handle.decrRef();
    await leases.close();
  });

  it("counts when its answer comes, although another one is under way by then", async () => {
    const server = new MemoryServer();
    const { opened, open } = gate();
    const sent: number[] = [];
    server.reply = (command) => {
      if (command !== "EXTEND") return undefined;
      sent.push(performance.now());
      return sent.length === 1 ? opened : silence;
    };
    const leases = new Leases({ nodes: [server.send], ttl: 10_000 });
    const handle = await leases.acquire("x", { ttl: 900 });
    const { deadline } = handle.value;
    await until("the second is under way", () => sent.length === 2);
    expect(handle.value.deadline).toBe(deadline);
    open();
    await until("the first has counted", () => handle.value.deadline > deadline);
    expect(handle.value.deadline).toBeLessThanOrEqual((sent[0] as number) + 900 - 11);
    await leases.close();
  });
});

describe("A lease that has expired", () => {
  it("has the reason why no renewal succeeded as its cause", async () => {
    const server = new MemoryServer();
    const refusal = new Error("READONLY You can't write against a read only replica.");
    server.refuse = (command) => (command === "EXTEND" ? refusal : undefined);
    const leases = new Leases({ nodes: [server.send], ttl: 300 });
    const handle = await leases.acquire("x");
    const { signal } = handle.value;
    await until("it is lost", () => signal.aborted);
    expect(signal.reason).toMatchObject({ code: "ERR_LEASE_LOST", reason: "expired", cause: refusal });
    await handle.decrRef();
    await leases.close();
  });

  it("has no cause when its last renewal succeeded", async () => {
    const server = new MemoryServer();
    let renewals = 0;
    server.refuse = (command) => (command === "EXTEND" && ++renewals === 1 ? new Error("LOADING") : undefined);
    const leases = new Leases({ nodes: [server.send], ttl: 300 });
    const handle = await leases.acquire("x");
    const { deadline, signal } = handle.value;
    await until("it is renewed", () => handle.value.deadline > deadline);
    const end = handle.value.deadline;
    while (performance.now() < end + 1);
    expect(handle.value.held).toBe(false);
    await until("the loss is heard of", () => signal.aborted);
    expect(signal.reason.reason).toBe("expired");
    expect("cause" in signal.reason).toBe(false);
    await handle.decrRef();
    await leases.close();
  });
});

describe("The release of a lease", () => {
  it("lets the next one in as soon as a majority has deleted the key", async () => {
    const servers = [new MemoryServer(), new MemoryServer(), new MemoryServer()] as const;
    const leases = new Leases({ nodes: servers.map(({ send }) => send), ttl: 10_000 });
    const first = await leases.acquire("x");
    servers[2].reply = () => silence;
    let given = false;
    const giving = first.decrRef().then(() => {
      given = true;
    });
    const second = await leases.acquire("x");
    expect(second.value.held).toBe(true);
    expect(given).toBe(false);
    await giving;
    expect(await leases.tryAcquire("x")).toBeUndefined();
    await leases.close();
  });

  it("is waited for by close(), also of one that was lost before", async () => {
    const server = new MemoryServer();
    const { opened, open } = gate();
    server.reply = (command) => (command === "RELEASE" ? opened : undefined);
    const leases = new Leases({ nodes: [server.send], ttl: 100, commandTimeout: 10_000 });
    const handle = await leases.acquire("x");
    const { deadline, signal } = handle.value;
    while (performance.now() < deadline);
    expect(handle.value.held).toBe(false);
    await until("the loss is heard of", () => signal.aborted);
    const log: string[] = [];
    const giving = handle.decrRef().then(() => log.push("given back"));
    const closing = leases.close().then(() => log.push("closed"));
    await turns();
    expect(log).toEqual([]);
    open();
    await Promise.all([giving, closing]);
    expect(log).toEqual(["given back", "closed"]);
    expect(server.values.size).toBe(0);
  });

  it("sends nothing when the one server has said that the key is somebody else's", async () => {
    const server = new MemoryServer();
    const leases = new Leases({ nodes: [server.send], ttl: 300 });
    const handle = await leases.acquire("x");
    const { released, signal } = handle.value;
    server.values.set(keyOf("x"), "other");
    await until("it is lost", () => signal.aborted);
    await handle.decrRef();
    expect(await released).toBe("not-held");
    expect(server.sent).not.toContain("RELEASE");
    await leases.close();
  });
});
