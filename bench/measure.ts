import { measure } from "mitata";

/** Nanoseconds of one call: the median over several measurements that take turns, so that noise meets all alike. */
export async function medians<Name extends string>(
  cases: Record<Name, () => unknown>,
  rounds = 5,
): Promise<Record<Name, number>> {
  const names = Object.keys(cases) as Name[];
  const seen = new Map<Name, number[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      const { p50 } = await measure(cases[name], { min_cpu_time: 100e6 });
      seen.get(name)?.push(p50);
    }
  }
  return Object.fromEntries(names.map((name) => [name, median(seen.get(name) ?? [])])) as Record<Name, number>;
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

export interface Row {
  readonly question: string;
  readonly ours: number;
  readonly unit: string;
  /** What ours is compared with. */
  readonly against: string;
  readonly theirs: number;
  /** The most the ratio should be; `Infinity`: there is none, it is a win or a loss. */
  readonly target: number;
}

/** Prints the rows as ratios, losses as plainly as wins; returns those that fall short. */
export function print(title: string, rows: readonly Row[]): Row[] {
  console.log(`\n${title} (Node ${process.versions.node}, ${process.arch}, medians; a ratio is ours / theirs)`);
  const short = rows.filter((row) => row.ours / row.theirs > row.target);
  for (const row of rows) {
    const ratio = row.ours / row.theirs;
    const verdict = ratio > row.target ? "FALLS SHORT" : "ok";
    const aim = Number.isFinite(row.target)
      ? `at most ${row.target.toFixed(2)}  ${verdict}`
      : ratio > 1
        ? "a loss"
        : "a win";
    console.log(
      `${row.question.padEnd(44)} ${row.ours.toFixed(1).padStart(8)} ${row.unit.padEnd(5)} ${ratio.toFixed(ratio < 0.1 ? 4 : 2).padStart(6)} x ${row.against.padEnd(42)} ${aim}`,
    );
  }
  return short;
}
