import type { AsyncHandle } from "./async-handle";
import { type AcquireTimeoutError, type MapCycleError, type MapFullError, received } from "./errors";
import type { Handle } from "./handle";
import type { Signal } from "./host";
import type { WrapOptions } from "./resource";

/** What a `lost` hook returned: stops listening. */
export type StopListening = () => unknown;

/** How a caller of `HandleMap.acquire` waits, and what it is called. */
export interface AcquireOptions {
  /** Gives up waiting: the acquire rejects with the signal's reason. */
  readonly signal?: Signal | undefined;
  /** The name that reports and errors give the new account. */
  readonly holder?: string | undefined;
  /** How long to wait, in milliseconds; then the acquire rejects with an {@link AcquireTimeoutError} that says what for. @default Infinity */
  readonly timeout?: number | undefined;
}

/**
 * What the open of a `HandleMap` is given beside the key. `V` is the map's type of value where that was written out,
 * `new HandleMap<string, Socket>(...)`; where it is inferred from this very open it is `unknown`.
 */
export interface OpenContext<K, V> {
  /** Aborts when nobody waits for this open any more, or the map is closed. A value that arrives anyway is freed. */
  readonly signal: Signal;
  /** The key as it was spelled by the acquire that began this open: with, say, a password that is no part of the identity. */
  readonly given: K;
  /**
   * `HandleMap.acquire`, for what this open needs from the same map. Needing itself, directly or through others,
   * rejects with a {@link MapCycleError}. Whoever acquires owes the handle, also when the open fails.
   */
  acquire(key: K, options?: AcquireOptions): Promise<AsyncHandle<V>>;
}

/** What `HandleMap` is made of. */
export interface HandleMapOptions<K, T, V = T> {
  /** Opens the value of a (canonical) key; one at a time per key. Once somebody needs it, not before. */
  readonly open: (key: K, context: OpenContext<K, V>) => T | PromiseLike<T>;
  /** Frees one value; run once. Without it a value's own dispose method is called, if it has one. */
  readonly free?: (value: T) => unknown;
  /**
   * Instead of `free` and `kind`: a definition whose kind, free, label, size and counters are used. An `exclusive` one never has two
   * values open for one key: the next open waits for the free. Whoever acquires a key while he holds an invalidated value
   * of it waits for himself: for a `timeout`, which names him.
   */
  readonly resource?: {
    readonly kind: string;
    wrap(value: T, options?: WrapOptions): AsyncHandle<T> | Handle<T>;
  };
  /** The name of the family in errors and reports. @default "entry" */
  readonly kind?: string;
  /** Names one entry in errors and reports; must not give secrets away. @default the key */
  readonly label?: (key: K) => string;
  /**
   * The one spelling of a key. Applied at every entrance: what was stored under one spelling is found under all. A promise
   * is refused. Keys are compared as in a `Map`, so of objects with the same parts it has to make one string.
   */
  readonly canonical?: (key: K) => K;
  /**
   * How long a value without holders is kept, in milliseconds: 0 frees it at once, `Infinity` keeps it. A finite time
   * longer than a timer can have, here and wherever else a map is told one, is cut to that: 24.8 days.
   *
   * @default 0
   */
  readonly idle?: number;
  /** How old a value may get, in milliseconds since it was opened: then it is replaced as by `HandleMap.invalidate`. @default Infinity */
  readonly maxAge?: number;
  /**
   * Listens for the end of a value that was opened: a socket's "error" and "close" events. Once it calls `lost` the value
   * is replaced as by `HandleMap.invalidate`, and a check of it that goes on is waited for no longer; if that was before
   * this returned, the open has failed. Asked as well for a value that arrives after its open was given up, and is freed.
   * A function that it returns stops listening, and is called when the value's free has settled.
   */
  readonly lost?: (value: T, lost: (error?: unknown) => void) => unknown;
  /**
   * How many values may be open at once, a whole number, those being freed included. Idle ones make room, the longest unused first. An open
   * that was given up makes room at once, for it may never end: what it still brings is freed, and is not counted.
   *
   * @default Infinity
   */
  readonly max?: number;
  /** What becomes of an acquire when all values are in use: it waits (first come, first served), or fails with a {@link MapFullError}. @default "wait" */
  readonly whenFull?: "wait" | "throw";
  /**
   * Asked before a value that is open already is given out. `false`, or a failure, replaces it: the old value is freed when
   * its last holder gives it back. The value is borrowed meanwhile, and freed after the answer unless it is lost: give a
   * check that might never settle an end of its own.
   */
  readonly validate?: (value: T, key: K) => boolean | PromiseLike<boolean>;
  /** Hears of every free that failed; without it, those that no caller is left to hear of are warnings. */
  readonly onError?: (error: unknown, key: K) => void;
}

/** What a `HandleMap` holds now. */
export interface HandleMapStats<K> {
  /** Values with holders. */
  readonly open: number;
  /** Values on their way, those that wait for room included. */
  readonly opening: number;
  /** Values without holders, kept: cached, not leaked. */
  readonly idle: number;
  /** Values the map no longer leads to, and that are not freed yet: invalidated ones in use, aborted opens, frees under way. */
  readonly leaving: number;
  /** References owed, per key that has any: on what the map leads to, and not on values that are leaving. */
  readonly holders: ReadonlyMap<K, number>;
}

/** How `HandleMap.close` goes about it. */
export interface CloseOptions {
  /** Revokes what is in use instead of waiting for its holders. Borrows, opens and frees under way are waited for all the same. */
  readonly force?: boolean;
  /** After this many milliseconds the promise rejects and names who still holds what. */
  readonly timeout?: number;
}

/** @throws {RangeError} If it is no number, less than `least`, or neither `whole` nor `Infinity` where that is asked for. */
export function checkRange(name: string, given: unknown, least: number, whole = false): void {
  if (typeof given === "number" && given >= least && (!whole || given === Infinity || Number.isInteger(given))) return;
  const wanted = `a ${whole ? "whole " : ""}number of at least ${least}`;
  throw new RangeError(`Expected ${name} to be ${wanted}, received ${received(given)}`);
}
