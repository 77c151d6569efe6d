import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, connect as dial, type Server as NetServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "redis";
import { afterAll } from "vitest";
import { fromNodeRedis, type SendCommand } from "../../src/leases/index";
import { redisServer } from "../support/redis";

/** A condition that is polled for, so that no test sleeps and hopes. */
export async function until(what: string, condition: () => unknown, within = 10_000): Promise<void> {
  const end = performance.now() + within;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`Not within ${within} ms: ${what}`);
    await pause(5);
  }
}

/** The key of a name under the default prefix. */
export const keyOf = (name: string): string => `lastref:{${name}}`;

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** How late the timers of this process were, in all, since it was made: what a bound on time has to allow for. */
export function watchLag(): { readonly total: number; stop(): void } {
  let total = 0;
  let due = performance.now() + 5;
  // A timer that nothing holds up is up to a millisecond late, and a little.
  const late = (): number => Math.max(0, performance.now() - due - 2);
  const timer = setInterval(() => {
    total += late();
    due = performance.now() + 5;
  }, 5);
  timer.unref();
  return {
    get total() {
      return total + late();
    },
    stop: () => clearInterval(timer),
  };
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A connection that speaks RESP2 and nothing else: it neither reconnects nor resends. */
export class Raw {
  readonly #socket: Socket;
  #rest = "";
  readonly #waiting: { resolve(reply: unknown): void; reject(error: Error): void }[] = [];
  readonly send: SendCommand = (args) =>
    new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      const words = args.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
      this.#socket.write(`*${args.length}\r\n${words.join("")}`);
    });

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    // One character per byte: lengths in the protocol are in bytes.
    socket.setEncoding("latin1");
    socket.on("data", (data) => {
      this.#rest += data;
      this.#read();
    });
    const lost = (): void => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error("The connection was closed"));
    };
    socket.on("error", lost);
    socket.on("close", lost);
  }

  static async connect(port: number): Promise<Raw> {
    const socket = dial(port, "127.0.0.1");
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return new Raw(socket);
  }

  /** For reading in a test: `await raw.do("GET", key)`. */
  do(...args: string[]): Promise<unknown> {
    return this.send(args);
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(): void {
    for (;;) {
      const parsed = parse(this.#rest, 0);
      if (parsed === undefined) return;
      this.#rest = this.#rest.slice(parsed.end);
      const next = this.#waiting.shift();
      if (parsed.value instanceof Error) next?.reject(parsed.value);
      else next?.resolve(parsed.value);
    }
  }
}

function parse(data: string, at: number): { value: unknown; end: number } | undefined {
  const line = data.indexOf("\r\n", at);
  if (line < 0) return undefined;
  const type = data[at];
  const body = data.slice(at + 1, line);
  const end = line + 2;
  if (type === "+") return { value: body, end };
  if (type === "-") return { value: new Error(body), end };
  if (type === ":") return { value: Number(body), end };
  const length = Number(body);
  if (length < 0) return { value: null, end };
  if (type === "$") {
    if (data.length < end + length + 2) return undefined;
    return { value: Buffer.from(data.slice(end, end + length), "latin1").toString(), end: end + length + 2 };
  }
  const items: unknown[] = [];
  let next = end;
  for (let i = 0; i < length; i++) {
    const item = parse(data, next);
    if (item === undefined) return undefined;
    items.push(item.value);
    next = item.end;
  }
  return { value: items, end: next };
}

/**
 * The processes that run now. A test that fails leaves its servers behind, so that the end of its file stops them, and
 * the end of the process if it comes first.
 */
const running = new Set<TestServer>();
afterAll(async () => {
  await Promise.all([...running].map((server) => server.stop()));
});
process.once("exit", () => {
  for (const server of running) server.kill();
});

/** A redis-server process of its own, on a port of its own, that keeps nothing on disk. */
export class TestServer {
  readonly port: number;
  readonly #args: readonly string[];
  readonly #binary = redisServer();
  readonly #dir = mkdtempSync(join(tmpdir(), "lastref-redis-"));
  #process: ChildProcess | undefined;
  readonly #closers: (() => unknown)[] = [];

  private constructor(port: number, args: readonly string[]) {
    this.port = port;
    this.#args = args;
  }

  static async start(...args: string[]): Promise<TestServer> {
    const server = new TestServer(await freePort(), args);
    await server.boot();
    return server;
  }

  /** A sentinel that watches this one, under the name `main`. */
  async sentinel(): Promise<TestServer> {
    const sentinel = await TestServer.start("--sentinel");
    await (await sentinel.raw()).do("SENTINEL", "MONITOR", "main", "127.0.0.1", String(this.port), "1");
    return sentinel;
  }

  static many(count: number): Promise<TestServer[]> {
    return Promise.all(Array.from({ length: count }, () => TestServer.start()));
  }

  /** Starts it, or starts it again on the same port after a crash. */
  async boot(): Promise<void> {
    const args = ["--port", String(this.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    running.add(this);
    // A sentinel writes down what it knows.
    const config = join(this.#dir, "redis.conf");
    writeFileSync(config, "");
    this.#process = spawn(this.#binary, [config, ...args, "--dir", this.#dir, ...this.#args], { stdio: "ignore" });
    await until(`redis-server answers on port ${this.port}`, async () => {
      try {
        const raw = await Raw.connect(this.port);
        const pong = await raw.do("PING").catch((error: Error) => error.message.startsWith("NOAUTH"));
        raw.close();
        return pong;
      } catch {
        return false;
      }
    });
  }

  freeze(): void {
    this.#process?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#process?.kill("SIGCONT");
  }

  /** Also one that is frozen. */
  kill(): void {
    this.#process?.kill("SIGKILL");
  }

  async crash(): Promise<void> {
    const process = this.#process;
    this.#process = undefined;
    if (process === undefined) return;
    const gone = new Promise((resolve) => process.once("exit", resolve));
    process.kill("SIGKILL");
    await gone;
  }

  /** A plain connection that looks at the keys. */
  async raw(): Promise<Raw> {
    const raw = await Raw.connect(this.port);
    this.#closers.push(() => raw.close());
    return raw;
  }

  /** A node-redis client, as a user has one: it reconnects, and queues what it cannot send. */
  async client(port = this.port): Promise<SendCommand> {
    const client = createClient({ socket: { port, host: "127.0.0.1" }, disableOfflineQueue: false });
    client.on("error", () => {});
    await client.connect();
    this.#closers.push(() => client.destroy());
    return fromNodeRedis(client);
  }

  async stop(): Promise<void> {
    for (const close of this.#closers.splice(0)) close();
    running.delete(this);
    await this.crash();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** Stands between a client and a server, and delays or drops what the server answers. */
export class Relay {
  readonly port: number;
  /** Milliseconds by which every reply is late. */
  delay = 0;
  /** How many of the next replies never arrive: their connections break instead. */
  drop = 0;
  /** Milliseconds by which every command is late. */
  delayCommands = 0;
  readonly #server: NetServer;
  readonly #sockets = new Set<Socket>();

  private constructor(port: number, server: NetServer) {
    this.port = port;
    this.#server = server;
  }

  static async start(target: number): Promise<Relay> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const relay = new Relay((server.address() as { port: number }).port, server);
    server.on("connection", (near) => relay.#join(near, dial(target, "127.0.0.1")));
    return relay;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #join(near: Socket, far: Socket): void {
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => {});
      socket.on("close", () => {
        near.destroy();
        far.destroy();
      });
    }
    near.on("data", (data) => this.#pass(far, data, this.delayCommands));
    far.on("data", (data) => {
      if (this.drop > 0) {
        this.drop--;
        near.destroy();
      } else this.#pass(near, data, this.delay);
    });
  }

  #pass(to: Socket, data: Buffer, ms: number): void {
    if (ms === 0) to.write(data);
    else setTimeout(() => to.write(data), ms);
  }
}
