import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundle } from "./bundle";

let built: Awaited<ReturnType<typeof bundle>>;

beforeAll(async () => {
  built = await bundle();
});
afterAll(() => built.remove());

/** Runs a program that has `Leases` and a `send` whose server answers as told, and gives what it printed. */
async function run(body: string): Promise<{ out: string; ms: number }> {
  const file = join(built.dir, "program.mjs");
  writeFileSync(
    file,
    `import { Leases } from ${JSON.stringify(pathToFileURL(built.file).href)};
const ok = async ([, , keys]) => (keys === "2" ? [1, 1] : 1);
const never = () => new Promise(() => {});
${body}
const began = performance.now();
process.on("exit", () => console.log("exit", Math.round(performance.now() - began)));`,
  );
  const child = spawn(process.execPath, [file], { stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (data) => {
    out += data;
  });
  const code = await new Promise((resolve) => child.once("exit", resolve));
  expect(code).toBe(0);
  return { out, ms: Number(/exit (\d+)/.exec(out)?.[1]) };
}

describe("Leases", () => {
  it("keep no process alive: not what is held, what is waited for, nor what is not answered", async () => {
    const { ms } = await run(`
      const leases = new Leases({ nodes: [ok], ttl: 20_000 });
      const handle = await leases.acquire("held");
      handle.value.signal.addEventListener("abort", () => {});
      leases.acquire("held", { wait: 30_000 });
      new Leases({ nodes: [never], commandTimeout: 10_000 }).acquire("silent", { wait: 30_000 });
      globalThis.kept = [leases, handle];`);
    expect(ms).toBeLessThan(200);
  });

  it("leave no timer behind, however a lease ends", async () => {
    const { out } = await run(`
      // As the socket of a client would.
      const alive = setInterval(() => {}, 1000);
      const live = new Set();
      const { setTimeout: set, clearTimeout: clear } = globalThis;
      globalThis.setTimeout = (callback, ms) => {
        const timer = set(() => (live.delete(timer), callback()), ms);
        live.add(timer);
        return timer;
      };
      globalThis.clearTimeout = (timer) => (live.delete(timer), clear(timer));
      const wait = (ms) => new Promise((done) => set(done, ms));
      // A timer for answers may run out first.
      const left = async (when, count) => {
        for (const end = performance.now() + 5000; live.size !== count && performance.now() < end; ) await wait(1);
        console.log(when, live.size);
      };
      let answer = ok;
      const leases = new Leases({ nodes: [(args) => answer(args)], ttl: 90, commandTimeout: 10 });
      const held = await leases.acquire("a");
      await left("held", 1);
      await leases.acquire("a", { wait: 10 }).catch(() => {});
      await leases.acquire("a", { signal: AbortSignal.timeout(1) }).catch(() => {});
      await wait(60);
      await left("waited", 1);
      await held.decrRef();
      await left("released", 0);
      await leases.acquire("b");
      answer = async () => [0, 5000];
      await wait(60);
      await left("lost", 0);
      const controller = new AbortController();
      const waiting = leases.acquire("c", controller).catch(() => {});
      await wait(20);
      await left("waiting", 1);
      controller.abort();
      await waiting;
      await left("aborted", 0);
      answer = never;
      leases.acquire("d").catch(() => {});
      await wait(10);
      await leases.close();
      console.log("closed", live.size);
      clearInterval(alive);`);
    expect(out.split("\n").slice(0, -2)).toEqual([
      "held 1",
      "waited 1",
      "released 0",
      "lost 0",
      "waiting 1",
      "aborted 0",
      "closed 0",
    ]);
  });
});
