import { count, named, warn } from "../account";
import { elapsed } from "./clock";
import { printLeak } from "./text";
import type { Leak } from "./types";

/** How often a site was reported, and when it is to be heard of next. */
interface Heard {
  total: number;
  next: number;
}

const SITES_KEPT = 1000;
const AT_ONCE = 10;
const PERIOD = 60_000;

const heard = new Map<string, Heard>();
let periodBegan = -PERIOD;
let emitted = 0;
let withheld = 0;

/**
 * What becomes of leaks when nobody listens: one warning per site and kind with the count so far, again at ten times as
 * many, and at most ten warnings a minute.
 */
export function emitLeaks(leaks: readonly Leak[]): void {
  const bySite = new Map<string, Leak[]>();
  for (const leak of leaks) {
    const key = `${leak.verdict}\n${leak.givenBack}\n${leak.kind}\n${leak.opened}`;
    const same = bySite.get(key);
    if (same === undefined) bySite.set(key, [leak]);
    else same.push(leak);
  }
  for (const [key, same] of bySite) {
    let site = heard.get(key);
    if (site === undefined) {
      if (heard.size >= SITES_KEPT) heard.clear();
      site = { total: 0, next: 1 };
      heard.set(key, site);
    }
    site.total += same.length;
    if (site.total < site.next) continue;
    while (site.next <= site.total) site.next *= 10;
    emit(same[0] as Leak, site.total);
  }
}

function emit(leak: Leak, total: number): void {
  const now = elapsed();
  if (now - periodBegan >= PERIOD) {
    periodBegan = now;
    emitted = 0;
  }
  if (++emitted > AT_ONCE) {
    withheld++;
    return;
  }
  const others = withheld > 0 ? `; ${count(withheld, "more warning")} withheld` : "";
  withheld = 0;
  const times = total > 1 ? `, ${total} so far from this site` : "";
  const message = `${leak.verdict} ${named(leak.kind, leak.label)}${times}${others}\n${printLeak(leak)}`;
  const { process } = globalThis as { process?: { emitWarning?(message: string, options: object): void } };
  if (process?.emitWarning) process.emitWarning(message, { type: "LeakWarning", code: "LASTREF_LEAK" });
  else warn(message);
}
