import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AsyncAutoMemory } from "../../src/async-auto-memory";
import { RefCountError, RevokedError } from "../../src/errors";
import { defineAsyncResource } from "../../src/resource";

/** A server that sends back what it gets, and the connections it has. */
let server: Server;
const connected = new Set<Socket>();

beforeAll(async () => {
  server = createServer((socket) => {
    connected.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => connected.delete(socket));
    socket.pipe(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
});

afterAll(() => {
  for (const socket of connected) socket.destroy();
  server.close();
});

const Connection = defineAsyncResource({
  kind: "socket",
  open: async (port: number) => {
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    return socket;
  },
  free: async (socket: Socket) => {
    const closed = once(socket, "close");
    socket.resume().end();
    await closed;
  },
  label: (_socket, port) => `127.0.0.1:${port}`,
});

function port(): number {
  return (server.address() as AddressInfo).port;
}

async function serverHas(count: number): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (connected.size !== count && Date.now() < deadline) await new Promise(setImmediate);
  expect(connected.size).toBe(count);
}

describe("a net.Socket", () => {
  it("is shared by a writer and a reader, and ends when both have let go", async () => {
    const writer = await Connection.open(port());
    const reader = writer.dup("reader");
    await serverHas(1);
    writer.value.write("ping");
    expect(await writer.decrRef()).toBe(false);
    const [echo] = (await once(reader.value, "data")) as [Buffer];
    expect(String(echo)).toBe("ping");
    const socket = reader.value;
    expect(await reader.decrRef()).toBe(true);
    expect(socket.destroyed).toBe(true);
    await serverHas(0);
    expect(() => reader.decrRef()).toThrow(RefCountError);
  });

  it("is closed with its context when the body throws, and 20 of them at once", async () => {
    const body = AsyncAutoMemory.run(async (memory) => {
      await Promise.all(Array.from({ length: 20 }, () => memory.open(Connection, port())));
      await serverHas(20);
      throw new Error("the body fails");
    });
    await expect(body).rejects.toThrow("the body fails");
    expect(Connection.stats.live).toBe(0);
    await serverHas(0);
  });

  it("is revoked under its holder, who learns why", async () => {
    const socket = await Connection.open(port());
    await Connection.revoke(socket);
    expect(() => socket.value).toThrow(RevokedError);
    expect(await socket.decrRef()).toBe(false);
    await serverHas(0);
  });

  it("that never connects is not counted", async () => {
    const closed = createServer().listen(0, "127.0.0.1");
    await once(closed, "listening");
    const nobody = (closed.address() as AddressInfo).port;
    await new Promise((done) => closed.close(done));
    const before = Connection.stats;
    await expect(Connection.open(nobody)).rejects.toThrow("ECONNREFUSED");
    expect(Connection.stats).toEqual(before);
  });
});

describe("a Worker", () => {
  const source = `
    const { parentPort } = require("node:worker_threads");
    parentPort.on("message", (n) => parentPort.postMessage(n * 2));
  `;
  const Thread = defineAsyncResource({
    kind: "worker",
    open: async () => {
      const worker = new Worker(source, { eval: true });
      await once(worker, "online");
      return worker;
    },
    free: async (worker: Worker) => {
      await worker.terminate();
    },
  });

  it("answers all its holders, and is terminated once, after the last", async () => {
    const first = await Thread.open();
    const exits: number[] = [];
    first.value.on("exit", (code) => exits.push(code));
    const second = first.dup("second");
    first.value.postMessage(21);
    expect((await once(first.value, "message"))[0]).toBe(42);
    expect(await first.decrRef()).toBe(false);
    second.value.postMessage(4);
    expect((await once(second.value, "message"))[0]).toBe(8);
    expect(exits).toEqual([]);
    expect(await second.decrRef()).toBe(true);
    expect(exits).toEqual([1]);
    expect(Thread.stats).toMatchObject({ live: 0, opened: 1, freed: 1 });
  });

  it("that dies by itself is given back without an error", async () => {
    const thread = await Thread.open();
    const exit = once(thread.value, "exit");
    await thread.value.terminate();
    await exit;
    expect(await thread.decrRef()).toBe(true);
    expect(Thread.stats.live).toBe(0);
  });
});
