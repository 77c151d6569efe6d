import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { LeaseTimeoutError } from "../../src/index";
import { isFinal, NoAnswer } from "../../src/leases/command";
import type { SendCommand } from "../../src/leases/index";
import * as scripts from "../../src/leases/scripts";
import { keyOf, make, raw, send } from "./fixture";

describe("NoAnswer", () => {
  it("says in whole milliseconds how long was waited", () => {
    expect(new NoAnswer("Release", 319.660942).message).toBe("Release was not answered within 320 ms");
  });
});

describe("isFinal()", () => {
  it.each([
    "NOAUTH Authentication required.",
    "ERR unknown command 'EVALSHA', with args beginning with: 'x'",
    "ERR value is not an integer or out of range",
    "ERR Error running script (call to f_0): @user_script:2: WRONGTYPE Operation against a key holding the wrong kind of value",
    "ERR Error running script (call to f_0): @user_script:2: -NOPERM this user has no permissions",
    "MOVED 3999 127.0.0.1:6381",
    "Unable to execute requests; the client is closed. Please create a new client.",
    "An error was signalled by the server: - ResponseError: value is not an integer or out of range",
  ])("is true of %s", (message) => {
    expect(isFinal(new Error(message))).toBe(true);
  });

  it.each([
    "READONLY You can't write against a read only replica. script: 0, on @user_script:3.",
    // What servers before Redis 7, and Dragonfly, make of that.
    "ERR Error running script (call to f_0): @user_script:4: @user_script: 4: -READONLY You can't write against a read only replica.",
    "ERR Error running script (call to 0): @user_script:2: -OOM command not allowed when used memory > 'maxmemory'.",
    "An error was signalled by the server: - ResponseError: Error running script (call to f_0): @user_script: 3: -MISCONF Errors writing to the disk",
    "ERR max number of clients reached",
    "CLUSTERDOWN The cluster is down",
    "The client is offline",
  ])("is not true of %s", (message) => {
    expect(isFinal(new Error(message))).toBe(false);
  });
});

describe("scripts", () => {
  it.each(Object.entries(scripts))("%s is known by the SHA-1 of its source", (_, script) => {
    expect(createHash("sha1").update(script.source).digest("hex")).toBe(script.sha);
  });

  it("are loaded again whenever the server has flushed them", async () => {
    await using leases = make({ ttl: 3000, renewEvery: 200 });
    for (const fence of [true, false]) {
      await using leases = make({ ttl: 3000, renewEvery: 200, fence });
      await raw.do("SCRIPT", "FLUSH");
      const handle = await leases.acquire("flushed");
      await raw.do("SCRIPT", "FLUSH");
      const { deadline } = handle.value;
      await expect.poll(() => handle.value.deadline, { timeout: 5000 }).toBeGreaterThan(deadline);
      await raw.do("SCRIPT", "FLUSH");
      const { released } = handle.value;
      await handle.decrRef();
      expect(await released).toBe("released");
    }
    await leases.close();
  });

  it("are loaded when a client says so in its own words", async () => {
    const worded: SendCommand = async (args) => {
      try {
        return await send(args);
      } catch (error) {
        if (!(error as Error).message.startsWith("NOSCRIPT")) throw error;
        throw new Error("An error was signalled by the server: - NoScriptError: No matching script.");
      }
    };
    await raw.do("SCRIPT", "FLUSH");
    await using leases = make({ nodes: [worded] });
    expect(await (await leases.acquire("worded")).decrRef()).toBe(true);
  });
});

describe("SendCommand", () => {
  const encodings: Record<string, (reply: unknown) => unknown> = {
    "string numbers": (reply) => (typeof reply === "number" ? String(reply) : reply),
    bigints: (reply) => (typeof reply === "number" ? BigInt(reply) : reply),
    Buffers: (reply) => (typeof reply === "string" || typeof reply === "number" ? Buffer.from(String(reply)) : reply),
  };
  it.each(Object.entries(encodings))("may answer in %s", async (_, encode) => {
    const deep = (reply: unknown): unknown => (Array.isArray(reply) ? reply.map(deep) : encode(reply));
    for (const fence of [true, false]) {
      await using leases = make({ nodes: [async (args) => deep(await send(args))], ttl: 3000, renewEvery: 200, fence });
      const handle = await leases.acquire("encoded");
      if (fence) expect(Number.isSafeInteger(handle.value.fence)).toBe(true);
      await using elsewhere = make({ nodes: [async (args) => deep(await send(args))], fence });
      await expect(elsewhere.acquire("encoded", { wait: 0 })).rejects.toSatisfy(
        (error) =>
          error instanceof LeaseTimeoutError && (error.remaining as number) > 0 && (error.remaining as number) <= 3000,
      );
      const { deadline, released } = handle.value;
      await expect.poll(() => handle.value.deadline, { timeout: 5000 }).toBeGreaterThan(deadline);
      await handle.decrRef();
      expect(await released).toBe("released");
    }
  });

  it("may throw at once: that is a fault like any other", async () => {
    const broken: SendCommand = () => {
      throw new Error("broken");
    };
    await using leases = make({ nodes: [broken] });
    await expect(leases.acquire("thrown", { wait: 0 })).rejects.toMatchObject({
      code: "ERR_LEASE_TIMEOUT",
      cause: { message: "broken" },
    });
    await expect(leases.tryAcquire("thrown")).rejects.toMatchObject({ code: "ERR_LEASE_TIMEOUT" });
    await expect(leases.force("thrown")).rejects.toMatchObject({ code: "ERR_LEASE_TIMEOUT" });
  });

  it.each<[string, unknown]>([
    ["undefined", undefined],
    ["null", null],
    ["what cannot be written out", Object.create(null)],
    ["an error whose message is no text", Object.assign(new Error(), { message: { code: 1 } })],
  ])("may reject with %s: nobody knows then who holds it", async (_, reason) => {
    for (const nodes of [1, 3]) {
      await using leases = make({
        nodes: Array.from({ length: nodes }, (): SendCommand => () => Promise.reject(reason)),
      });
      await expect(leases.tryAcquire("rejected")).rejects.toMatchObject({ code: "ERR_LEASE_TIMEOUT" });
      await expect(leases.acquire("rejected", { wait: 0 })).rejects.toThrow("too few servers answered");
      await expect(leases.force("rejected")).rejects.toMatchObject({ code: "ERR_LEASE_TIMEOUT" });
    }
  });

  it("may say that a script is missing by an object that is no error", async () => {
    await raw.do("SCRIPT", "FLUSH");
    const plain: SendCommand = (args) =>
      send(args).catch((error: Error) => {
        throw { message: error.message };
      });
    await using leases = make({ nodes: [plain] });
    expect(await (await leases.acquire("plain", { wait: 1000 })).decrRef()).toBe(true);
  });

  it("that forgets to give the reply leaves it unknown who holds it, and is asked no more often for that", async () => {
    for (const fence of [true, false]) {
      let sent = 0;
      const forgetful: SendCommand = async (args) => {
        sent++;
        await send(args);
      };
      await using leases = make({ nodes: [forgetful], fence });
      await expect(leases.tryAcquire("forgotten")).rejects.toMatchObject({
        code: "ERR_LEASE_TIMEOUT",
        cause: { message: "EVALSHA was answered with what is no reply to it: undefined" },
      });
      sent = 0;
      await expect(leases.acquire("forgotten", { wait: 400 })).rejects.toThrow("too few servers answered");
      expect(sent).toBeLessThan(20);
      await expect.poll(() => raw.do("EXISTS", keyOf("forgotten"))).toBe(0);
    }
  });
});
