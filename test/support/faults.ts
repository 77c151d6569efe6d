/**
 * Forces every way out of a function that takes references, and compares what is counted before and after.
 *
 * The function under test calls `point(name)` wherever it could fail or return (or its collaborators do: an open, a
 * free, a storage). It is run once to learn which points it passes, and then once more per point and way: the point
 * throws, the signal aborts there, or the function is told to return there.
 */

export type Way = "throw" | "abort" | "return";

export interface Fault {
  /** Throws, aborts, or answers `true`: "return here". Asynchronous code may await it, so that an abort is heard first. */
  point(name: string): boolean;
  readonly signal: AbortSignal;
}

export interface Trial<W> {
  /** A fresh world for each run. */
  readonly setup: () => W | Promise<W>;
  /** The function under test, and whatever its caller owes after it. */
  readonly run: (world: W, fault: Fault) => unknown;
  /** References, live values: anything that must be the same before and after. */
  readonly count: (world: W) => number | Promise<number>;
  /** Ends what a run leaves under way on purpose, before counting: an idle value, a free in flight. */
  readonly settle?: (world: W) => unknown;
  /** The ways to try. @default all */
  readonly ways?: readonly Way[];
}

export interface WayOut {
  readonly point: string;
  readonly way: Way | "to the end";
  readonly before: number;
  readonly after: number;
  readonly error: unknown;
}

export class Injected extends Error {
  override readonly name = "Injected";
}

/** Every way out of the trial's function, the undisturbed one first. */
export async function waysOut<W>(trial: Trial<W>): Promise<WayOut[]> {
  const passed: string[] = [];
  const undisturbed = await attempt(trial, -1, "throw", passed);
  const all: WayOut[] = [{ ...undisturbed, point: "", way: "to the end" }];
  for (const way of trial.ways ?? (["throw", "abort", "return"] as const)) {
    // A point that is passed twice is two places.
    for (let nr = 0; nr < passed.length; nr++) {
      all.push({ ...(await attempt(trial, nr, way, [])), point: passed[nr] as string, way });
    }
  }
  return all;
}

/** Fails with every way out that counts something else after than before. */
export async function expectNoWayOutToLeak<W>(trial: Trial<W>): Promise<number> {
  const all = await waysOut(trial);
  const leaks = all.filter(({ before, after }) => before !== after);
  if (leaks.length > 0) throw new Error(describeLeaks(leaks, all.length));
  return all.length;
}

function describeLeaks(leaks: readonly WayOut[], tried: number): string {
  const lines = leaks.map(({ point, way, before, after }) => {
    const where = way === "to the end" ? "going to the end" : `${way} at "${point}"`;
    return `  ${where}: ${before} counted before, ${after} after`;
  });
  return `${leaks.length} of ${tried} ways out leak:\n${lines.join("\n")}`;
}

async function attempt<W>(
  trial: Trial<W>,
  at: number,
  way: Way,
  passed: string[],
): Promise<Omit<WayOut, "point" | "way">> {
  const world = await trial.setup();
  const before = await trial.count(world);
  const stop = new AbortController();
  let nr = 0;
  const fault: Fault = {
    signal: stop.signal,
    point(name) {
      passed.push(name);
      if (nr++ !== at) return false;
      if (way === "throw") throw new Injected(name);
      if (way === "abort") stop.abort(new Injected(name));
      return way === "return";
    },
  };
  let error: unknown;
  try {
    await trial.run(world, fault);
  } catch (thrown) {
    error = thrown;
  }
  await trial.settle?.(world);
  return { before, after: await trial.count(world), error };
}
