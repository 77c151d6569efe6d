import { describe, expect, it } from "vitest";
import type { SendCommand } from "../../src/leases/index";
import { keyOf, make, raw, server } from "./fixture";
import { TestServer, until } from "./servers";

/** A user whose scripts may call everything but one command. */
async function without(command: string, on = server): Promise<SendCommand> {
  const denied = await on.raw();
  await denied.do("ACL", "SETUSER", `no-${command}`, "on", ">secret", "~*", "&*", "+@all", `-${command}`);
  await denied.do("AUTH", `no-${command}`, "secret");
  return denied.send;
}

/** In the words of Redis 7.0, and of later ones and Valkey. */
const DENIED = /^ERR (?:The user executing the script can't run this command|ACL failure in script: User no-)/;

describe("Leases of a user who may not read keys", () => {
  it("are lost when their time is over, not taken, and say why no renewal and no release succeeded", async () => {
    const failed: unknown[] = [];
    await using leases = make({
      nodes: [await without("get")],
      ttl: 600,
      renewEvery: 100,
      onReleaseFailed: (_, error) => failed.push(error),
    });
    const given = await leases.acquire("given");
    const { released } = given.value;
    await given.decrRef();
    expect(await released).toBe("unknown");
    expect(failed).toEqual([expect.objectContaining({ message: expect.stringMatching(DENIED) })]);
    expect(await raw.do("EXISTS", keyOf("given"))).toBe(1);
    const kept = await leases.acquire("kept");
    await until("it is lost", () => kept.value.signal.aborted);
    expect(kept.value.signal.reason).toMatchObject({
      reason: "expired",
      cause: { message: expect.stringMatching(DENIED) },
    });
    await kept.decrRef();
  });

  it("are refused on several nodes where their fence takes that", async () => {
    const another = await TestServer.start();
    const nodes = await Promise.all([server, another].map((server) => without("get", server)));
    await using leases = make({ nodes, fence: true });
    await expect(leases.acquire("fenced", { wait: 5000 })).rejects.toThrow(DENIED);
    await leases.close();
    await another.stop();
  });
});

describe("Leases of a user who may not ask for the time", () => {
  it("are refused again and again, and begin no counter", async () => {
    await raw.do("FLUSHALL");
    await using leases = make({ nodes: [await without("time")] });
    for (let i = 0; i < 2; i++) {
      await expect(leases.acquire("timeless")).rejects.toThrow(DENIED);
      expect(await raw.do("KEYS", "*")).toEqual([]);
    }
  });
});
