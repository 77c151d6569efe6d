// What does a lease cost over its two commands, and over its peers: one at a time, 50 names at once, 50 waiters on one name?
//
// It needs redis-server.
//
// The cases take turns in short rounds and the ratio of each round is taken, because what is asked for is a few percent
// and the machine drifts by more than that between two runs of one case. The figure is the median of those ratios.
//
// No collection is forced between the rounds. One that comes while none of a case's objects is alive drops the machine
// code that was made for them, and what is measured then is the compiler.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { Redis } from "ioredis";
import { fromIoredis, Leases } from "lastref/leases";
import { Mutex } from "redis-semaphore";
import Redlock from "redlock";
import { createLock, IoredisAdapter } from "redlock-universal";
import { print, type Row } from "./measure";

const ROUNDS = 31;
/** Rounds that do not count: until the machine code is made. */
const WARM = 12;
const SEQUENTIAL = 1000;
const AT_ONCE = 50;
const TTL = 10_000;

/** What takes a lock of that name and gives it back. */
type Pair = (name: string) => Promise<unknown>;

const port = await new Promise<number>((resolve) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address() as { port: number };
    probe.close(() => resolve(port));
  });
});
const server = spawn(
  "redis-server",
  ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
  {
    stdio: "ignore",
  },
);
process.once("exit", () => server.kill("SIGKILL"));
const client = new Redis(port, "127.0.0.1", { retryStrategy: () => 50 });
client.on("error", () => {});
await new Promise((resolve) => client.once("ready", resolve));

const RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
const FENCED =
  "if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return {1, redis.call('INCR', KEYS[2])} end return {0, 0}";
const shaOf = (script: string): string => createHash("sha1").update(script).digest("hex");
await client.script("LOAD", RELEASE);
await client.script("LOAD", FENCED);
const [release, fenced] = [shaOf(RELEASE), shaOf(FENCED)];

const plain = new Leases({ nodes: [fromIoredis(client)], ttl: TTL, fence: false });
const leases = new Leases({ nodes: [fromIoredis(client)], ttl: TTL });
const redlock = new Redlock([client as never], { retryCount: 0 });
const adapter = new IoredisAdapter(client as never);

const pairs: Record<string, Pair> = {
  "bare SET NX PX + EVALSHA": async (name) => {
    const token = Math.random().toString(36);
    await client.call("set", `b:${name}`, token, "NX", "PX", String(TTL));
    await client.call("evalsha", release, "1", `b:${name}`, token);
  },
  "bare fence script + EVALSHA": async (name) => {
    const token = Math.random().toString(36);
    await client.call("evalsha", fenced, "2", `f:{${name}}`, `f:{${name}}:fence`, token, String(TTL));
    await client.call("evalsha", release, "1", `f:{${name}}`, token);
  },
  "lastref, no fence": async (name) => {
    await (await plain.acquire(name)).decrRef();
  },
  lastref: async (name) => {
    await (await leases.acquire(name)).decrRef();
  },
  "redlock 5": async (name) => {
    await (await redlock.acquire([`r:${name}`], TTL)).release();
  },
  "redis-semaphore": async (name) => {
    const mutex = new Mutex(client as never, name, { lockTimeout: TTL, acquireAttemptsLimit: 1 });
    await mutex.acquire();
    await mutex.release();
  },
  "redlock-universal": async (name) => {
    const lock = createLock({ adapter, key: `u:${name}`, ttl: TTL });
    await lock.release(await lock.acquire());
  },
};
const PEERS = ["redlock 5", "redis-semaphore", "redlock-universal"];
const floors: Record<string, string> = { lastref: "bare fence script + EVALSHA" };
const [bare, fencing] = Object.keys(pairs) as [string, string];
const rows: Row[] = [];

async function sequentially(pair: Pair): Promise<number> {
  const began = performance.now();
  for (let i = 0; i < SEQUENTIAL; i++) await pair("one");
  return (1000 * SEQUENTIAL) / (performance.now() - began);
}

async function atOnce(pair: Pair): Promise<number> {
  const turns = SEQUENTIAL / AT_ONCE;
  const began = performance.now();
  for (let i = 0; i < turns; i++) await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => pair(`many${n}`)));
  return (1000 * SEQUENTIAL) / (performance.now() - began);
}

const median = (numbers: number[]): number => numbers.sort((a, b) => a - b)[numbers.length >> 1] as number;

async function compare(title: string, measure: (pair: Pair) => Promise<number>): Promise<void> {
  const rates = new Map<string, number[]>(Object.keys(pairs).map((name) => [name, []]));
  for (let round = -WARM; round < ROUNDS; round++) {
    const names = Object.keys(pairs);
    // Nobody always comes after the same one.
    if (round % 2) names.reverse();
    for (const name of names) {
      const rate = await measure(pairs[name] as Pair);
      if (round >= 0) rates.get(name)?.push(rate);
    }
  }
  const cost = (name: string, beside: string): number =>
    median((rates.get(beside) ?? []).map((rate, round) => rate / (rates.get(name)?.[round] as number)));
  const aim = (name: string, against: string, target: number): void => {
    const ours = 1e6 / median([...(rates.get(name) ?? [])]);
    rows.push({ question: `${name}: ${title}`, ours, unit: "us", against, theirs: ours / cost(name, against), target });
  };
  // As throughput, 0.93 of the floor; and of many at once no peer may be faster by more than the fence costs.
  aim("lastref", fencing, 1 / 0.93);
  aim("lastref, no fence", bare, 1 / 0.93);
  if (measure === atOnce) for (const peer of PEERS) aim("lastref", peer, Math.max(1, cost(fencing, bare)));
  console.log(`\n${title}`);
  for (const [name, own] of rates) {
    const floor = floors[name] ?? bare;
    const ratio = median(own.map((rate, round) => rate / (rates.get(floor)?.[round] as number)));
    const of = name === floor ? "" : `  ${ratio.toFixed(3)} x ${floor}`;
    console.log(
      `  ${name.padEnd(28)} ${Math.round(median([...own]))
        .toString()
        .padStart(7)} pairs/s${of}`,
    );
  }
}

/** How many commands the client sends meanwhile: what a script calls is not among them. */
async function commandsOf(body: () => Promise<unknown>): Promise<number> {
  let sent = 0;
  const { sendCommand } = client;
  client.sendCommand = function (this: Redis, ...args: Parameters<Redis["sendCommand"]>) {
    sent++;
    return sendCommand.apply(this, args);
  };
  await body();
  client.sendCommand = sendCommand;
  return sent;
}

/** Prints the commands per grant among waiters, and returns them. */
async function commandsPerGrant(title: string, wait: (i: number) => Promise<() => Promise<unknown>>): Promise<number> {
  const began = performance.now();
  let grants = 0;
  const sent = await commandsOf(() =>
    Promise.allSettled(
      Array.from({ length: AT_ONCE }, async (_, i) => {
        const end = await wait(i);
        grants++;
        await new Promise((resolve) => setTimeout(resolve, 200));
        await end();
      }),
    ),
  );
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(
    `  ${title.padEnd(28)} ${(sent / grants).toFixed(1)} commands per grant, ${grants} grants in ${seconds} s`,
  );
  return sent / grants;
}

await compare("one at a time", sequentially);
await compare(`${AT_ONCE} names at once`, atOnce);

console.log(`\n${AT_ONCE} waiters on one name, each holds it for 200 ms`);
const perGrant = await commandsPerGrant("lastref", async () => {
  const handle = await leases.acquire("waiters");
  return () => handle.decrRef();
});
const perPair = (await commandsOf(() => sequentially(pairs.lastref as Pair))) / SEQUENTIAL;
const counts = { unit: "commands", target: 1 };
rows.push({
  ...counts,
  question: "lastref: acquire + release",
  ours: perPair,
  against: "one round trip each",
  theirs: 2,
});
rows.push({ ...counts, question: "lastref: a grant to one of 50 waiters", ours: perGrant, against: "3", theirs: 3 });
const patient = new Redlock([client as never], { retryCount: 1000, retryDelay: 100, retryJitter: 50 });
await commandsPerGrant("redlock 5", async () => {
  const lock = await patient.acquire(["r:waiters"], TTL);
  return () => lock.release();
});
await commandsPerGrant("redis-semaphore", async () => {
  const mutex = new Mutex(client as never, "waiters", { lockTimeout: TTL, acquireTimeout: 60_000, retryInterval: 100 });
  await mutex.acquire();
  return () => mutex.release();
});
await commandsPerGrant("redlock-universal", async () => {
  const lock = createLock({ adapter, key: "u:waiters", ttl: TTL, retryAttempts: 1000, retryDelay: 100 });
  const handle = await lock.acquire();
  return () => lock.release(handle);
});

print("Leases", rows);
await Promise.all([plain.close(), leases.close()]);
client.disconnect();
server.kill();
