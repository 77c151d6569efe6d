import type { Socket } from "node:net";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import type { ConnectionMapOptions } from "../../src/kinds/connection-map";
import { ConnectionMap } from "../../src/kinds/connection-map";
import { dial, onceLost, startSockets } from "../support/sockets";
import { until } from "../support/until";

function links(options: Partial<ConnectionMapOptions<Socket>> = {}) {
  return new ConnectionMap<Socket>({
    open: (_, { endpoint }) => dial(endpoint.port ?? 0, endpoint.host),
    free: (socket) =>
      new Promise<void>((resolve) => {
        if (socket.closed) return resolve();
        socket.once("close", () => resolve());
        socket.destroy();
      }),
    ...options,
  });
}

describe("ConnectionMap", () => {
  it("opens one socket for every spelling of one server, and none is left after the last holder", async () => {
    await using server = await startSockets();
    const map = links({ loopback: "127.0.0.1" });
    const { port } = server;
    const spellings = [
      `localhost:${port}`,
      ` LOCALHOST.:${port}`,
      `127.0.0.1:${port}`,
      { host: "127.1", port },
      `[::1]:${port}`,
    ];
    const handles = await Promise.all(spellings.map((spelling) => map.acquire(spelling)));
    expect(new Set(handles.map(({ value }) => value)).size).toBe(1);
    expect([handles[0]?.kind, handles[0]?.label]).toEqual(["connection", `127.0.0.1:${port}`]);
    await until(() => server.open === 1);
    for (const handle of handles) await handle.decrRef();
    await until(() => server.open === 0);
    expect(server.accepted).toBe(1);
  });

  it("leaves localhost and 127.0.0.1 two servers unless told otherwise", async () => {
    await using server = await startSockets();
    const map = links();
    await using _a = await map.acquire(`localhost:${server.port}`);
    await using _b = await map.acquire(`127.0.0.1:${server.port}`);
    expect(map.size).toBe(2);
  });

  it("finds under every spelling what it stored under one", async () => {
    await using server = await startSockets();
    const map = links({ loopback: "127.0.0.1", idle: Infinity });
    const stored = `127.0.0.1:${server.port}`;
    const asked = { host: "LocalHost", port: server.port };
    await (await map.acquire(stored)).decrRef();
    expect(map.has(asked)).toBe(true);
    const peeked = map.peek(asked);
    await peeked?.decrRef();
    expect([peeked !== undefined, map.touch(asked), map.invalidate(asked)]).toEqual([true, true, true]);
    await until(() => server.open === 0);
    expect(map.size).toBe(0);
  });

  it("removes a connection that dies while it is idle, frees it once, and opens a new one", async () => {
    await using server = await startSockets();
    const freed: Socket[] = [];
    const map = links({
      idle: Infinity,
      lost: onceLost,
      free: (socket) => {
        freed.push(socket);
        socket.destroy();
      },
    });
    const where = `127.0.0.1:${server.port}`;
    const first = await map.acquire(where);
    const socket = first.value;
    await first.decrRef();
    await until(() => server.open === 1);
    server.cut();
    await until(() => map.size === 0);
    await until(() => socket.closed && socket.listenerCount("error") === 0);
    expect([freed, map.stats.idle, map.stats.leaving]).toEqual([[socket], 0, 0]);
    await using second = await map.acquire(where);
    expect([second.value === socket, server.accepted]).toEqual([false, 2]);
  });

  it("replaces one that dies in use: its holders keep it until they give it back, and nothing is unhandled", async () => {
    await using server = await startSockets();
    const map = links({ lost: onceLost });
    const where = `127.0.0.1:${server.port}`;
    const [a, b] = await Promise.all([map.acquire(where), map.acquire(where)]);
    await until(() => server.open === 1);
    server.cut();
    await until(() => map.size === 0);
    const next = await map.acquire(where);
    expect([a.value === b.value, a.value.destroyed, next.value === a.value]).toEqual([true, true, false]);
    await Promise.all([a.decrRef(), b.decrRef()]);
    expect([map.stats.leaving, next.value.destroyed]).toEqual([0, false]);
    await next.decrRef();
    await until(() => server.open === 0);
  });

  it("closes a connection at its greatest age: an idle one at once, one in use when it is given back", async () => {
    await using server = await startSockets();
    const map = links({ idle: Infinity, maxAge: 30 });
    const where = `127.0.0.1:${server.port}`;
    await (await map.acquire(where)).decrRef();
    await until(() => map.size === 0 && server.open === 0);
    const held = await map.acquire(where);
    await until(() => map.size === 0);
    expect([held.value.destroyed, map.stats.leaving]).toEqual([false, 1]);
    await held.decrRef();
    await until(() => server.open === 0);
    expect(map.stats.leaving).toBe(0);
  });

  it("gives the password to the open only: no label, error or printout has it", async () => {
    const secret = "hunter2";
    let seen: string | undefined;
    const map = links({
      open: async (key, { endpoint }) => {
        seen = endpoint.password;
        expect(key).not.toContain(secret);
        return {} as Socket;
      },
      free: () => {
        throw new Error("the free failed");
      },
    });
    const handle = await map.acquire(`redis://app:${secret}@db/1`, { holder: "importer" });
    const said: unknown[] = [handle.label, inspect(handle), inspect(map), [...map.keys()], inspect(map.stats)];
    const late = await map.close({ timeout: 1 }).catch((error: unknown) => error);
    said.push(inspect(late), (late as Error).message);
    said.push(inspect(await map.acquire(`redis://app:${secret}@db/1`).catch((error: unknown) => error)));
    said.push(inspect(await handle.decrRef().catch((error: unknown) => error)));
    expect(() => handle.value).toThrow(expect.not.stringContaining(secret));
    expect(seen).toBe(secret);
    for (const text of said) expect(String(text)).not.toContain(secret);
  });

  it("calls the methods of an object of a class on that object, inherited or not", async () => {
    class Base {
      readonly #log: string[] = [];
      readonly idle = Infinity;
      open(key: string): { key: string } {
        this.#log.push(`open ${key}`);
        return { key };
      }
      free({ key }: { key: string }): void {
        this.#log.push(`free ${key}`);
      }
      validate(): boolean {
        this.#log.push("validate");
        return true;
      }
      label(): string {
        return `link ${this.#log.length}`;
      }
      get log(): string[] {
        return this.#log;
      }
    }
    class Links extends Base {
      get defaultPort(): number {
        return 1;
      }
      lost(): () => void {
        this.log.push("listen");
        return () => void this.log.push("stop");
      }
    }
    const given = new Links();
    const map = new ConnectionMap<{ key: string }>(given);
    const first = await map.acquire("a");
    expect(first.label).toBe("link 0");
    await first.decrRef();
    await (await map.acquire("a:1")).decrRef();
    await map.close();
    expect(given.log).toEqual(["open a:1", "listen", "validate", "free a:1", "stop"]);
  });

  it("takes no open for an argument mistake", () => {
    expect(() => new ConnectionMap({} as never)).toThrow(
      "Cannot make a ConnectionMap: expected open to be a function, received undefined",
    );
    const open = () => 1;
    expect(() => new ConnectionMap({ open, defaultPort: 65536 })).toThrow(
      "Cannot read an endpoint: expected defaultPort to be from 1 to 65535, received number 65536",
    );
    expect(() => new ConnectionMap({ open, loopback: "bad host" })).toThrow(
      "Cannot read an endpoint: expected loopback to be a name or an address, received",
    );
  });
});
