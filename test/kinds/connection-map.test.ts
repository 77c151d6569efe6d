import { connect, type Socket } from "node:net";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import type { ConnectionMapOptions } from "../../src/kinds/connection-map";
import { ConnectionMap } from "../../src/kinds/connection-map";
import { startSockets } from "../support/sockets";
import { until } from "../support/until";

function dial(host: string | undefined, port: number | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: port ?? 0, family: 4 });
    socket.once("error", reject);
    socket.once("connect", () => resolve(socket));
  });
}

function links(options: Partial<ConnectionMapOptions<Socket>> = {}) {
  return new ConnectionMap<Socket>({
    open: (_, { endpoint }) => dial(endpoint.host, endpoint.port),
    free: (socket) =>
      new Promise((resolve) => {
        socket.once("close", () => resolve(undefined));
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

  it("takes no open for an argument mistake", () => {
    expect(() => new ConnectionMap({} as never)).toThrow(
      "Cannot make a ConnectionMap: expected open to be a function, received undefined",
    );
  });
});
