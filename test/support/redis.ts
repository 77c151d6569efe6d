import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { delimiter, join } from "node:path";
import host from "node:process";
import { setTimeout as wait } from "node:timers/promises";

/** What a command was answered. */
export type Reply = string | number | null | Reply[];

/** One socket to a Redis or Valkey server: the least client there can be, with nothing of its own that reconnects. */
export class RawClient {
  readonly socket: Socket;
  #buffer = Buffer.alloc(0);
  readonly #waiting: { resolve(reply: Reply): void; reject(error: Error): void }[] = [];

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk) => this.#data(chunk));
    socket.on("error", () => {});
    socket.on("close", () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error("The connection was closed"));
    });
  }

  static connect(port: number, host = "127.0.0.1"): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host, noDelay: true });
      socket.once("error", reject);
      socket.once("connect", () => resolve(new RawClient(socket)));
    });
  }

  get closed(): boolean {
    return this.socket.destroyed;
  }

  command(...args: (string | number)[]): Promise<Reply> {
    if (this.closed) return Promise.reject(new Error("The connection was closed"));
    const parts = args.map((arg) => `$${Buffer.byteLength(String(arg))}\r\n${arg}\r\n`);
    this.socket.write(`*${args.length}\r\n${parts.join("")}`);
    const answer = new Promise<Reply>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    // Whoever no longer waits for an answer does not have to hear that there is none.
    answer.catch(() => {});
    return answer;
  }

  close(): Promise<void> {
    if (this.socket.closed) return Promise.resolve();
    return new Promise((resolve) => {
      this.socket.once("close", () => resolve());
      this.socket.destroy();
    });
  }

  #data(chunk: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    for (;;) {
      const read = readReply(this.#buffer, 0);
      if (read === undefined) return;
      this.#buffer = this.#buffer.subarray(read.end);
      const waiter = this.#waiting.shift();
      if (read.error !== undefined) waiter?.reject(new Error(read.error));
      else waiter?.resolve(read.reply);
    }
  }
}

function readReply(buffer: Buffer, at: number): { reply: Reply; error?: string; end: number } | undefined {
  const line = buffer.indexOf("\r\n", at);
  if (line < 0) return undefined;
  const text = buffer.toString("utf8", at + 1, line);
  const end = line + 2;
  switch (buffer[at]) {
    case 43:
      return { reply: text, end };
    case 45:
      return { reply: null, error: text, end };
    case 58:
      return { reply: Number(text), end };
    case 36: {
      const length = Number(text);
      if (length < 0) return { reply: null, end };
      if (buffer.length < end + length + 2) return undefined;
      return { reply: buffer.toString("utf8", end, end + length), end: end + length + 2 };
    }
    default: {
      const items: Reply[] = [];
      let next = end;
      for (let i = 0; i < Number(text); i++) {
        const item = readReply(buffer, next);
        if (item === undefined) return undefined;
        items.push(item.reply);
        next = item.end;
      }
      return { reply: Number(text) < 0 ? null : items, end: next };
    }
  }
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

export interface RedisServer extends AsyncDisposable {
  readonly port: number;
  readonly process: ChildProcess;
  /** Connections the server knows of, without the one that asks. */
  clients(): Promise<number>;
}

/** What runs now: a test that fails disposes of nothing, and no server outlives its process. */
const running = new Set<ChildProcess>();
host.once("exit", () => {
  for (const server of running) server.kill("SIGKILL");
});

const PLACES = [...(host.env.PATH ?? "").split(delimiter), "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"];

/** The redis-server that there is. */
export function redisServer(places: readonly string[] = PLACES): string {
  const found = places.map((place) => join(place, "redis-server")).find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new Error("There is no redis-server here. Install it: apt-get install redis-server, or brew install redis");
}

/** Starts a redis-server on a free loopback port. Disposing of it stops the process. */
export async function startRedis(): Promise<RedisServer> {
  const binary = redisServer();
  for (let attempt = 0; ; attempt++) {
    const port = await freePort();
    const args = [
      "--port",
      `${port}`,
      "--bind",
      "127.0.0.1",
      "--save",
      "",
      "--appendonly",
      "no",
      "--maxclients",
      "2000",
    ];
    const process = spawn(binary, args, { stdio: "ignore" });
    running.add(process);
    process.once("exit", () => running.delete(process));
    const client = await answering(process, port);
    if (client === undefined) {
      process.kill("SIGKILL");
      if (attempt === 5) throw new Error("The redis-server does not answer");
      continue;
    }
    return {
      port,
      process,
      clients: async () =>
        String(await client.command("CLIENT", "LIST"))
          .trim()
          .split("\n").length - 1,
      async [Symbol.asyncDispose]() {
        await client.close();
        if (process.exitCode !== null) return;
        const gone = new Promise((resolve) => process.once("exit", resolve));
        process.kill("SIGKILL");
        await gone;
      },
    };
  }
}

async function answering(process: ChildProcess, port: number): Promise<RawClient | undefined> {
  const end = performance.now() + 10_000;
  while (process.exitCode === null && performance.now() < end) {
    const client = await RawClient.connect(port).catch(() => undefined);
    if (client !== undefined && (await client.command("PING").catch(() => "")) === "PONG") return client;
    await client?.close();
    await wait(10);
  }
  return undefined;
}
