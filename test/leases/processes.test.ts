import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundle } from "./bundle";
import { keyOf, raw, server } from "./fixture";
import { watchLag } from "./servers";

const TTL = 900;

interface Taken {
  readonly token: string;
  readonly fence: number;
}

/** Another process, with leases of its own. */
class Remote {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve(said: unknown): void; reject(error: Error): void }>();
  #asked = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on("message", ({ id, said, failed }: { id: number; said?: unknown; failed?: string }) => {
      if (failed === undefined) this.#waiting.get(id)?.resolve(said);
      else this.#waiting.get(id)?.reject(new Error(failed));
    });
    child.on("exit", (code) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`exit ${code}`));
    });
  }

  static async start(file: string): Promise<Remote> {
    const child = fork(fileURLToPath(new URL("remote.mjs", import.meta.url)), [file, `${server.port}`, `${TTL}`]);
    await new Promise((resolve, reject) => {
      child.once("message", resolve);
      child.once("exit", reject);
    });
    return new Remote(child);
  }

  ask<T>(action: string, name?: string): Promise<T> {
    const id = ++this.#asked;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (said: unknown) => void, reject });
      this.#child.send({ id, action, name });
    });
  }

  stop(): void {
    this.#child.kill("SIGKILL");
  }
}

let built: Awaited<ReturnType<typeof bundle>>;
let remotes: Remote[] = [];

beforeAll(async () => {
  built = await bundle();
  remotes = await Promise.all([1, 2, 3].map(() => Remote.start(built.file)));
});
afterAll(() => {
  for (const remote of remotes) remote.stop();
  built.remove();
});

describe("Leases in several processes", () => {
  it("miss what another one holds, which stays as it is, and have it once it was given back", async () => {
    const [a, b] = remotes as [Remote, Remote];
    const { token } = await a.ask<Taken>("acquire", "shared");
    expect(await b.ask("tryAcquire", "shared")).toBeUndefined();
    expect(await raw.do("GET", keyOf("shared"))).toBe(token);
    expect(await a.ask("release")).toBe("released");
    const taken = await b.ask<Taken>("tryAcquire", "shared");
    expect(await raw.do("GET", keyOf("shared"))).toBe(taken.token);
    expect(await b.ask("release")).toBe("released");
    expect(await raw.do("EXISTS", keyOf("shared"))).toBe(0);
  });

  it("hear within one interval of renewals that another one took the lock by force, and leave its key", async () => {
    const [a, b, c] = remotes as [Remote, Remote, Remote];
    const lag = watchLag();
    await a.ask("acquire", "forced");
    const losing = a.ask("lost");
    const second = await b.ask<Taken>("force", "forced");
    const began = performance.now();
    expect(await losing).toBe("taken");
    expect(performance.now() - began).toBeLessThan(TTL / 3 + 50 + lag.total);
    const third = await c.ask<Taken>("force", "forced");
    expect(third.fence).toBeGreaterThan(second.fence);
    expect(await b.ask("lost")).toBe("taken");
    expect(await a.ask("tryAcquire", "forced")).toBeUndefined();
    expect(await b.ask("release")).toBe("not-held");
    expect(await raw.do("GET", keyOf("forced"))).toBe(third.token);
    expect(await c.ask("release")).toBe("released");
    lag.stop();
  });

  it("get fences that go up, whichever acquires, however the one before ended, and stay on renewal", async () => {
    const fences: number[] = [];
    for (let i = 0; i < 100; i++) {
      const remote = remotes[i % 3] as Remote;
      fences.push((await remote.ask<Taken>("acquire", "fenced")).fence);
      if (i === 50) expect(await remote.ask("renewed")).toBe(true);
      // Every tenth is as if it had expired.
      const expired = i % 10 === 0;
      if (expired) await raw.do("DEL", keyOf("fenced"));
      expect(await remote.ask("release")).toBe(expired ? "not-held" : "released");
    }
    expect(fences).toEqual([...new Set(fences)].sort((x, y) => x - y));
    expect(await raw.do("PTTL", `${keyOf("fenced")}:fence`)).toBe(-1);
  });
});
