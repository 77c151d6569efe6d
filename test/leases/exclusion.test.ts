import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundle } from "./bundle";
import { pause, TestServer } from "./servers";

const WORKERS = 8;
const ROUNDS = 200;
const TTL = 2000;

let lock: TestServer;
let witness: TestServer;
let built: Awaited<ReturnType<typeof bundle>>;

beforeAll(async () => {
  [lock, witness, built] = await Promise.all([TestServer.start(), TestServer.start(), bundle()]);
});
afterAll(async () => {
  built.remove();
  await Promise.all([lock.stop(), witness.stop()]);
});

interface Report {
  /** How many were inside at once, at most, as this one saw it. */
  readonly most: number;
  readonly lost: number;
  /** Whether every fence was higher than the one before. */
  readonly fences: boolean;
}

function work(counter: string): { child: ChildProcess; report: Promise<Report> } {
  const worker = fileURLToPath(new URL("worker.mjs", import.meta.url));
  const args = [built.file, lock.port, witness.port, counter, ROUNDS, TTL].map(String);
  const child = spawn(process.execPath, [worker, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let err = "";
  child.stdout.on("data", (data) => {
    out += data;
  });
  child.stderr.on("data", (data) => {
    err += data;
  });
  const report = new Promise<Report>((resolve, reject) => {
    child.once("exit", (code) => (code === 0 ? resolve(JSON.parse(out)) : reject(new Error(err || `exit ${code}`))));
  });
  return { child, report };
}

describe("Leases in eight processes", () => {
  it.each([
    ["undisturbed", 0],
    ["frozen at random for up to half of the ttl", 10],
  ])(
    "let one in at a time (%s)",
    async (name, freezes) => {
      const counter = join(built.dir, `${name.length}`);
      writeFileSync(counter, "0");
      const workers = Array.from({ length: WORKERS }, () => work(counter));
      const all = Promise.all(workers.map(({ report }) => report));
      let over = false;
      all.then(
        () => {
          over = true;
        },
        () => {
          over = true;
        },
      );
      for (let i = 0; i < freezes && !over; i++) {
        const { child } = workers[Math.floor(Math.random() * WORKERS)] as { child: ChildProcess };
        child.kill("SIGSTOP");
        await pause((Math.random() * TTL) / 2);
        child.kill("SIGCONT");
        await pause(50);
      }
      const reports = await all;
      expect(readFileSync(counter, "utf8")).toBe(String(WORKERS * ROUNDS));
      expect(Math.max(...reports.map(({ most }) => most))).toBe(1);
      expect(reports.every(({ fences }) => fences)).toBe(true);
      expect(reports.every(({ lost }) => lost === 0)).toBe(true);
    },
    60_000,
  );

  it("are seen to overlap where there is no lock: the witness works", async () => {
    const raws = await Promise.all(Array.from({ length: WORKERS }, () => witness.raw()));
    let most = 0;
    await Promise.all(
      raws.map(async (raw) => {
        most = Math.max(most, Number(await raw.do("INCR", "unlocked")));
        await pause(20);
        await raw.do("DECR", "unlocked");
      }),
    );
    expect(most).toBeGreaterThan(1);
  });
});
