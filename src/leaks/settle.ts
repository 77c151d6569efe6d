import type { Account } from "./account-record";
import { pause } from "./clock";
import { detector } from "./detector";

const ATTEMPTS = 50;

/** Runs a full garbage collection, where the runtime lets a program ask for one. */
export function collector(): (() => unknown) | undefined {
  const { gc, Bun } = globalThis as { gc?: () => unknown; Bun?: { gc?(force: boolean): unknown } };
  if (typeof gc === "function") return gc;
  const bun = Bun?.gc;
  return typeof bun === "function" ? () => bun(true) : undefined;
}

/** Something that nobody holds, registered as every handle is. */
class Canary {
  gone = false;
  collected(): void {
    this.gone = true;
  }
}

function plant(): Canary {
  const canary = new Canary();
  // In a call of its own: no frame that is still running has seen the object.
  const release = (): void => detector().registry.register({ canary: true }, canary);
  release();
  return canary;
}

/** Collects, one macrotask each time, until a canary planted now is gone. */
export async function collectAll(): Promise<void> {
  const collect = collector();
  if (collect === undefined) {
    throw new Error(
      "Cannot settle: garbage collection cannot be asked for here; run with --expose-gc (vitest: execArgv, Deno: --v8-flags=--expose-gc)",
    );
  }
  const log = detector();
  const canary = plant();
  let rounds = 0;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    // An unread capture keeps the receivers of its frames alive.
    log.captures.readAll();
    collect();
    await pause(attempt < 10 ? 0 : 5);
    // Once more: a collection that was under way already may have passed over what was dropped meanwhile.
    if (canary.gone && log.drained && ++rounds > 1) return;
  }
  throw new Error(`Cannot settle: an unreachable object was not collected in ${ATTEMPTS} collections`);
}

/**
 * Waits until everything that was dropped so far has been collected and reported. What was dropped together with the last
 * reference to it is found too, frees of leaked resources included.
 *
 * @returns A promise that rejects where collection cannot be asked for or seen; it never resolves without having seen it.
 */
export async function settle(): Promise<void> {
  const log = detector();
  // What is resumed in this turn may still open, drop or give back.
  await pause();
  // What is opened later is not waited for: a program that goes on leaking would never settle.
  const last = log.lastId;
  let found = 0;
  const count = ({ id }: Account): void => {
    if (id <= last) found++;
  };
  log.onDropped.add(count);
  try {
    let before: number;
    do {
      before = found;
      await collectAll();
    } while (found !== before);
  } finally {
    log.onDropped.delete(count);
  }
}
