import { setTimeout as wait } from "node:timers/promises";

/** Polls until the condition holds; fails after `deadline` milliseconds. */
export async function until(condition: () => unknown, what = "the condition", deadline = 10_000): Promise<void> {
  const end = performance.now() + deadline;
  for (;;) {
    if (await condition()) return;
    if (performance.now() > end) throw new Error(`Gave up waiting for ${what}`);
    await wait(2);
  }
}

export interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: unknown): void;
}

export function deferred<T = void>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** Lets everything that is queued now run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Lets what takes some turns come to its end. */
export async function turns(count = 8): Promise<void> {
  for (let i = 0; i < count; i++) await turn();
}
