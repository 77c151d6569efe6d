/**
 * The few globals that a lease needs of its platform, named here because the core compiles without DOM and without
 * @types/node. They are read when they are called, so that a test may put its own clock in their place.
 */
interface Platform {
  setTimeout(callback: () => void, ms: number): Timer;
  clearTimeout(timer: Timer | undefined): void;
  readonly performance: { now(): number };
  readonly crypto: { getRandomValues(bytes: Uint8Array): Uint8Array };
  readonly AbortController: new () => Controller;
  readonly TextDecoder: new () => { decode(bytes: Uint8Array): string };
}

/** What a timer is: an object where it can be told not to keep the process alive, a number elsewhere. */
export type Timer = { unref?(): unknown } | number;

/** The part of an `AbortSignal` that leases use, for programs compiled without one. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly reason?: unknown;
  addEventListener(type: "abort", listener: () => void): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/** The program's own `AbortSignal` where its compiler knows one, else {@link AbortSignalLike}. */
export type Signal = typeof globalThis extends { AbortSignal: { prototype: infer S } } ? S : AbortSignalLike;

export interface Controller {
  readonly signal: Signal;
  abort(reason: unknown): void;
}

export const platform = globalThis as unknown as Platform;

/** Milliseconds that never run backwards. */
export function now(): number {
  return platform.performance.now();
}

/** A timer that does not keep the process alive. */
export function later(ms: number, callback: () => void): Timer {
  const timer = platform.setTimeout(callback, ms);
  if (typeof timer === "object") timer.unref?.();
  return timer;
}

export function cancel(timer: Timer | undefined): void {
  if (timer !== undefined) platform.clearTimeout(timer);
}

const TOKEN_BYTES = 16;
const drawn = /* @__PURE__ */ new Uint8Array(TOKEN_BYTES * 256);
/** What was drawn, in hex; a token is a piece of it that was given to nobody before. */
let pool = "";
let used = 0;

/** 128 random bits in hex. They are drawn in bulk: one system call serves 256 tokens. */
export function randomToken(): string {
  if (used === pool.length) {
    platform.crypto.getRandomValues(drawn);
    const digits = new Uint8Array(2 * drawn.length);
    for (let i = 0; i < drawn.length; i++) {
      const byte = drawn[i] as number;
      digits[2 * i] = digit(byte >> 4);
      digits[2 * i + 1] = digit(byte & 15);
    }
    pool = new platform.TextDecoder().decode(digits);
    used = 0;
  }
  const from = used;
  used += 2 * TOKEN_BYTES;
  return pool.slice(from, used);
}

function digit(value: number): number {
  return value < 10 ? 48 + value : 87 + value;
}
