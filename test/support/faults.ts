/**
 * Forces every way out of functions that take references, and compares what is counted before and after.
 *
 * The functions have points where {@link inject} found that they can be left. A trial is run once to learn which points
 * it passes, and then once more per point and way: the point throws, what is awaited or called there rejects, the signal
 * aborts there, or the function returns there.
 */
import { type Hook, type Injected, type Point, setHook } from "./inject";

export type Way = "throw" | "reject" | "abort" | "return";

export interface Trial<M, W> {
  /** A fresh world for each run, made of the module that has the points. */
  readonly setup: (module: M) => W | Promise<W>;
  /** Calls the functions under test, and does whatever their caller owes after it. */
  readonly run: (world: W, signal: AbortSignal) => unknown;
  /** References, live values: anything that must be the same before and after. */
  readonly count: (world: W) => number | Promise<number>;
  /** Ends what a run leaves under way on purpose, before counting: an idle value, a free in flight. */
  readonly settle?: (world: W) => unknown;
  /** Ends the world, after counting. */
  readonly end?: (world: W) => unknown;
  /**
   * A call did its work and failed after that: undoes what its author would have undone before he throws. What has a
   * dispose method is disposed of without this.
   */
  readonly undo?: (world: W, result: unknown, point: Point) => void;
}

export interface WayOut {
  readonly point: Point | undefined;
  readonly way: Way | "to the end";
  readonly before: number;
  readonly after: number;
  readonly error: unknown;
}

/** Every way out that was forced. */
export interface WaysOut {
  readonly ways: readonly WayOut[];
  /** Points that no run came by, undisturbed or not. */
  readonly missed: readonly Point[];
}

/** The points of the code that no run came by, without their places. */
export function missed({ missed }: WaysOut): string[] {
  return missed.map(({ text }) => text.replace(/^[^,]*, /, ""));
}

/** Values that were opened and have not been freed. */
export class World {
  readonly live = new Set<unknown>();
  #nr = 0;

  open(key: string): Value {
    const value = { key, nr: ++this.#nr };
    this.live.add(value);
    return value;
  }

  free(value: unknown): void {
    this.live.delete(value);
  }
}

export interface Value {
  readonly key: string;
  readonly nr: number;
}

export class Forced extends Error {
  override readonly name = "Forced";
}

const WAYS: Record<Point["kind"], readonly Way[]> = {
  statement: ["throw", "return", "abort"],
  call: ["throw", "reject", "abort"],
  await: ["reject", "abort"],
};

/** Every way out of the trial's functions, the undisturbed one first. */
export async function waysOut<M, W>({ module, points }: Injected<M>, trial: Trial<M, W>): Promise<WaysOut> {
  const seen = new Set<number>();
  const attempt = async (run: Run<W>): Promise<WayOut> => {
    const world = await trial.setup(module);
    const way = await run.attempt(world);
    await trial.end?.(world);
    for (const id of run.passed) seen.add(id);
    return way;
  };
  const undisturbed = new Run(trial, points);
  const ways = [await attempt(undisturbed)];
  // A point that is passed twice is two places.
  for (const [nr, id] of undisturbed.passed.entries()) {
    const point = points[id] as Point;
    for (const way of WAYS[point.kind]) ways.push(await attempt(new Run(trial, points, nr, way)));
  }
  return { ways, missed: points.filter(({ id }) => !seen.has(id)) };
}

/** Fails with every way out that counts something else after than before. */
export async function expectNoWayOutToLeak<M, W>(injected: Injected<M>, trial: Trial<M, W>): Promise<WaysOut> {
  const all = await waysOut(injected, trial);
  const leaks = all.ways.filter(({ before, after }) => before !== after);
  if (leaks.length === 0) return all;
  const lines = leaks.map(({ point, way, before, after }) => {
    const where = point === undefined ? "going to the end" : `${way} at ${point.text}`;
    return `  ${where}: ${before} counted before, ${after} after`;
  });
  throw new Error(`${leaks.length} of ${all.ways.length} ways out leak:\n${lines.join("\n")}`);
}

/** One run of a trial, with one fault or none: what the points call. */
class Run<W> implements Hook {
  readonly passed: number[] = [];
  readonly #trial: Omit<Trial<never, W>, "setup">;
  readonly #points: readonly Point[];
  readonly #at: number;
  readonly #way: Way | undefined;
  readonly #stop = new AbortController();
  #world: W | undefined = undefined;
  /** What failed although it goes on. */
  #undoing: Promise<unknown> | undefined = undefined;

  /** @param at The place in the order of passing. */
  constructor(trial: Omit<Trial<never, W>, "setup">, points: readonly Point[], at = -1, way?: Way) {
    this.#trial = trial;
    this.#points = points;
    this.#at = at;
    this.#way = way;
  }

  async attempt(world: W): Promise<WayOut> {
    this.#world = world;
    const { run, count, settle } = this.#trial;
    const before = await count(world);
    const outer = setHook(this);
    let error: unknown;
    try {
      await run(world, this.#stop.signal);
    } catch (thrown) {
      error = thrown;
    }
    try {
      await this.#undoing;
      await settle?.(world);
    } finally {
      setHook(outer);
    }
    const point = this.#at < 0 ? undefined : this.#points[this.passed[this.#at] as number];
    return { point, way: this.#way ?? "to the end", before, after: await count(world), error };
  }

  /** @returns The point's number; below 0 where the fault is to be. */
  before(id: number): number {
    const armed = this.passed.push(id) - 1 === this.#at;
    if (armed && this.#way === "abort") this.#stop.abort(this.#failure(id));
    return armed ? -1 - id : id;
  }

  statement(id: number): boolean {
    if (this.before(id) >= 0) return false;
    if (this.#way === "throw") throw this.#failure(id);
    return this.#way === "return";
  }

  called(at: number, result: unknown): unknown {
    if (at >= 0) return result;
    const id = -1 - at;
    if (this.#way === "throw") {
      if (isThenable(result)) this.#undoing = this.#rejected(id, result).catch(() => {});
      else this.#undo(id, result);
      throw this.#failure(id);
    }
    return this.#way === "reject" && isThenable(result) ? this.#rejected(id, result) : result;
  }

  awaited(at: number, operand: unknown): unknown {
    return at < 0 && this.#way === "reject" ? this.#rejected(-1 - at, operand) : operand;
  }

  async #rejected(id: number, operand: unknown): Promise<never> {
    // It may fail by itself: then there is nothing of it.
    const result = await Promise.resolve(operand).catch(() => undefined);
    await this.#undo(id, result);
    throw this.#failure(id);
  }

  /** A failing call leaves nothing of its result. */
  #undo(id: number, result: unknown): unknown {
    const { undo } = this.#trial;
    undo?.(this.#world as W, result, this.#points[id] as Point);
    const own = result as { [Symbol.asyncDispose]?(): unknown; [Symbol.dispose]?(): unknown } | null | undefined;
    const dispose = own?.[Symbol.asyncDispose] ?? own?.[Symbol.dispose];
    return typeof dispose === "function" ? dispose.call(own) : undefined;
  }

  #failure(id: number): Forced {
    return new Forced((this.#points[id] as Point).text);
  }
}

function isThenable(value: unknown): boolean {
  return typeof (value as { then?: unknown } | undefined)?.then === "function";
}
