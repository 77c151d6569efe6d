import { appendFileSync } from "node:fs";
import process from "node:process";
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

/**
 * Prints the rows as ratios, losses as plainly as wins. Those with a target are written down for bench/run.mjs, which says
 * at its end what falls short.
 */
export function print(title: string, rows: readonly Row[]): void {
  console.log(`\n${title} (Node ${process.versions.node}, ${process.arch}, medians; a ratio is ours / theirs)`);
  for (const row of rows) {
    const ratio = row.ours / row.theirs;
    const met = ratio <= row.target;
    const aimed = Number.isFinite(row.target);
    const aim = aimed
      ? `at most ${row.target.toFixed(2)}  ${met ? "ok" : "FALLS SHORT"}`
      : ratio > 1
        ? "a loss"
        : "a win";
    console.log(
      `${row.question.padEnd(44)} ${row.ours.toFixed(1).padStart(8)} ${row.unit.padEnd(5)} ${ratio.toFixed(ratio < 0.1 ? 4 : 2).padStart(6)} x ${row.against.padEnd(42)} ${aim}`,
    );
    const file = process.env.LASTREF_BENCH_TARGETS;
    if (!aimed || !file) continue;
    const { question, against, target } = row;
    const node = process.versions.node;
    appendFileSync(file, `${JSON.stringify({ title, question, against, target, ratio, met, node })}\n`);
  }
}
