import { beforeAll, describe, expect, it } from "vitest";
import { Leases, type LeasesOptions, type SendCommand } from "../../src/leases/index";
import { keyOf, raw, server } from "./fixture";
import { type Raw, TestServer, until } from "./servers";

/** A user who may not run scripts. */
let bare: Raw;

beforeAll(async () => {
  await raw.do("ACL", "SETUSER", "bare", "on", ">secret", "~*", "&*", "+@all", "-@scripting");
  bare = await server.raw();
  await bare.do("AUTH", "bare", "secret");
});

const make = (send: SendCommand, options: Partial<LeasesOptions> = {}): Leases =>
  new Leases({ nodes: [send], ttl: 3000, renewEvery: 200, ...options });

/**
 * The same user on a server that compares natively. The server of these tests is older than the commands, so another
 * connection does what they are documented to do; everything else goes to the server as the user without scripts.
 */
function native(deletion: "DELEX" | "DELIFEQ"): { sent: string[]; send: SendCommand } {
  const sent: string[] = [];
  const run = (script: string, key: string, ...args: string[]): Promise<unknown> =>
    raw.do("EVAL", script, "1", key, ...args);
  return {
    sent,
    send: (args) => {
      const [command, key = "", ...rest] = args;
      sent.push(rest.includes("IFEQ") && command === "SET" ? "SET IFEQ" : (command as string));
      if (command === "SET" && rest[1] === "IFEQ") {
        const script =
          "if redis.call('GET', KEYS[1]) == ARGV[2] then return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3]) end return false";
        return run(script, key, rest[0] as string, rest[2] as string, rest[4] as string);
      }
      if (command === deletion) {
        const script = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
        return run(script, key, rest.at(-1) as string);
      }
      return bare.send(args);
    },
  };
}

describe("Leases where scripts are forbidden", () => {
  it("says once and clearly that the server cannot compare, and leaves no key", async () => {
    for (const fence of [undefined, true, false]) {
      await using leases = make(bare.send, fence === undefined ? {} : { fence });
      await expect(leases.acquire("none")).rejects.toMatchObject({
        code: "ERR_LEASE_UNSUPPORTED",
        message:
          'Cannot acquire lease "none": its server runs no script for this user that compares and deletes lastref:{none}, and has no commands that do',
        cause: { message: expect.stringMatching(/^NOPERM .*eval/) },
      });
      await expect(leases.tryAcquire("none")).rejects.toMatchObject({ code: "ERR_LEASE_UNSUPPORTED" });
      await expect(leases.force("none")).rejects.toMatchObject({ code: "ERR_LEASE_UNSUPPORTED" });
    }
    expect(await raw.do("KEYS", "*")).toEqual([]);
  });

  it.each(["EVALSHA", "EVAL"])("says the same of a server that does not know %s", async (command) => {
    const own = await TestServer.start("--rename-command", command, "");
    const { send } = await own.raw();
    for (const fence of [undefined, true, false]) {
      await using leases = make(send, fence === undefined ? {} : { fence });
      await expect(leases.acquire("none")).rejects.toMatchObject({
        code: "ERR_LEASE_UNSUPPORTED",
        cause: { message: expect.stringContaining(`unknown command '${command}'`) },
      });
    }
    expect(await send(["KEYS", "*"])).toEqual([]);
    await own.stop();
  });

  it.each(["DELEX", "DELIFEQ"] as const)("compares and deletes by %s where the server has it", async (deletion) => {
    const { sent, send } = native(deletion);
    await using leases = make(send);
    await using elsewhere = make(send);
    const handle = await leases.acquire("native");
    expect(await raw.do("GET", keyOf("native"))).toBe(handle.value.token);
    expect(await elsewhere.tryAcquire("native")).toBeUndefined();
    const { deadline, released } = handle.value;
    await until("it is renewed", () => handle.value.deadline > deadline);
    await handle.decrRef();
    expect(await released).toBe("released");
    expect(await raw.do("KEYS", "*")).toEqual([]);
    sent.length = 0;
    const second = await leases.acquire("native");
    await second.decrRef();
    expect(sent).toEqual(["SET", deletion]);
  });

  it("is lost when the key is somebody else's, or of another type, which stay as they are", async () => {
    const { send } = native("DELEX");
    await using leases = make(send);
    for (const command of [
      ["SET", keyOf("lost"), "other"],
      ["LPUSH", keyOf("lost"), "other"],
    ]) {
      const handle = await leases.acquire("lost");
      await raw.do("DEL", keyOf("lost"));
      await raw.do(...command);
      await until("it is lost", () => handle.value.signal.aborted);
      expect(handle.value.signal.reason.reason).toBe("taken");
      await handle.decrRef();
      expect(await raw.do("EXISTS", keyOf("lost"))).toBe(1);
      expect(await leases.tryAcquire("lost")).toBeUndefined();
      const again = make(send);
      expect(await again.tryAcquire("lost")).toBeUndefined();
      await again.close();
      await raw.do("DEL", keyOf("lost"));
    }
  });

  it("has no fence, and says so", async () => {
    const { send } = native("DELIFEQ");
    await using leases = make(send);
    const handle = await leases.acquire("unfenced");
    expect(() => handle.value.fence).toThrow(expect.objectContaining({ code: "ERR_LEASE_UNSUPPORTED" }));
    await handle.decrRef();
    await using fenced = make(send, { fence: true });
    for (let i = 0; i < 2; i++) {
      await expect(fenced.acquire("fenced")).rejects.toMatchObject({
        code: "ERR_LEASE_UNSUPPORTED",
        message: 'Cannot acquire lease "fenced": a fence takes a script, and its server runs none for this user',
      });
    }
    expect(await raw.do("KEYS", "*")).toEqual([]);
  });
});

describe("Leases whose keys are forbidden", () => {
  it("say what the server said, and take it for the last word", async () => {
    await raw.do("ACL", "SETUSER", "keyed", "on", ">secret", "~app:*", "&*", "+@all");
    const keyed = await server.raw();
    await keyed.do("AUTH", "keyed", "secret");
    for (const fence of [true, false]) {
      await using leases = make(keyed.send, { fence });
      for (const verb of ["acquire", "tryAcquire", "force"] as const) {
        await expect(leases[verb]("x")).rejects.toThrow(/^NOPERM .*access (?:a|one of the) key/);
      }
      await using allowed = make(keyed.send, { fence, prefix: "app" });
      await (await allowed.acquire("x")).decrRef();
    }
    await raw.do("FLUSHALL");
  });
});
