import { DISPOSE, named, warn } from "../account";
import { checkObject, received } from "../errors";
import type { Account } from "../leaks/account-record";
import { builtin, pause } from "../leaks/clock";
import { detector, type Scopes } from "../leaks/detector";
import { Finds } from "../leaks/finds";
import { reportOf } from "../leaks/report";
import { track } from "../leaks/tracking";
import type { Leak, LeakReport } from "../leaks/types";
import type { LeakCheckOptions } from "./without-leaks";

interface Storage {
  getStore(): Scope | undefined;
  run<R>(scope: Scope, body: () => R): R;
  enterWith(scope: Scope): void;
}

/** One test, or one body: what is opened in it is charged to it. */
export class Scope {
  readonly name: string;
  readonly parent: Scope | undefined;
  /** Of no test: what was started before a file's tests opens in it while they run, such as a server. */
  readonly outside: boolean;
  readonly finds = new Finds();
  ended = false;
  /** What is opened in it after its end: a late callback. It is charged to no other test. */
  late: Scope | undefined = undefined;

  constructor(name: string, parent: Scope | undefined, outside = false) {
    this.name = name;
    this.parent = parent;
    this.outside = outside;
  }

  holds(other: object | undefined): boolean {
    for (let scope = other as Scope | undefined; scope !== undefined; scope = scope.parent) {
      if (scope === this) return true;
    }
    return false;
  }
}

const LATE_KEPT = 100;
const TOLD_KEPT = 1000;

/** Tells which test or body the program is in. */
class TestScopes implements Scopes {
  readonly #storage: Storage | undefined = asyncStorage();
  /** The tests under way that no storage tells apart: one group. */
  #group: { readonly scope: Scope; readonly names: string[]; active: number } | undefined;
  /** What was said once of a kind, two tests and two sites. */
  readonly #told = new Set<string>();
  /** Scopes of what was opened too late. */
  #late: Scope[] = [];
  #outside: Scope | undefined;

  current(): Scope | undefined {
    const scope = this.#storage?.getStore() ?? this.#group?.scope ?? this.#outside;
    if (scope === undefined || !scope.ended) return scope;
    if (scope.late === undefined) {
      scope.late = new Scope(scope.name, scope);
      if (this.#late.length < LATE_KEPT) this.#late.push(scope.late);
    }
    return scope.late;
  }

  found(scope: object, leak: Leak): boolean {
    let charged = false;
    for (let at = scope as Scope | undefined; at !== undefined; at = at.parent) {
      at.finds.add(leak);
      // Nobody looks at one that has ended.
      if (!at.ended) charged = true;
    }
    return charged;
  }

  closedElsewhere(account: Account, scope: object, now: object): void {
    const from = scope as Scope;
    const to = now as Scope;
    if (from.outside || to.outside || from.holds(to) || to.holds(from)) return;
    const nameOf = ({ name }: Scope): string => (name === "" ? "another test" : `"${name}"`);
    const where = `was opened in ${nameOf(from)} and closed in ${to.name === "" ? "this one" : nameOf(to)}`;
    const { opened, closed } = account.sites();
    const sites = `\n  opened: ${opened}\n  closed: ${closed}`;
    const key = `${account.family.kind}\n${where}${sites}`;
    if (this.#told.has(key)) return;
    if (this.#told.size >= TOLD_KEPT) this.#told.clear();
    this.#told.add(key);
    warn(`lastref: ${named(account.family.kind, account.label)} ${where}${sites}`);
  }

  /** Runs a body in a scope of its own; without a storage it joins the group of what is under way. */
  run<R>(name: string, body: (scope: Scope) => R): { scope: Scope; result: R } {
    const scope = new Scope(name, this.current());
    const result = this.#storage === undefined ? body(scope) : this.#storage.run(scope, () => body(scope));
    return { scope, result };
  }

  /** Runs a body in a scope that there is already. */
  within<R>(scope: Scope, body: () => R): R {
    return this.#storage === undefined ? body() : this.#storage.run(scope, body);
  }

  get tellsApart(): boolean {
    return this.#storage !== undefined;
  }

  /** Enters a scope that reaches the rest of the caller's asynchronous context (vitest's test body, from `beforeEach`). */
  enter(name: string): Scope | undefined {
    if (this.#storage === undefined) return undefined;
    this.#outside ??= new Scope("", undefined, true);
    const scope = new Scope(name, undefined);
    this.#storage.enterWith(scope);
    return scope;
  }

  /** The tests of a file have ended. Gives the scopes of what no test was charged with. */
  endFile(): Scope[] {
    const scopes = [...this.#late, ...(this.#outside === undefined ? [] : [this.#outside])];
    this.#late = [];
    this.#outside = undefined;
    return scopes;
  }

  /** Joins the tests under way. */
  join(name: string): void {
    this.#group ??= { scope: new Scope("", undefined), names: [], active: 0 };
    this.#group.active++;
    if (name !== "") this.#group.names.push(name);
  }

  /** Leaves them. The last one gets the group's scope, for the check. */
  leave(): Scope | undefined {
    const group = this.#group;
    if (group === undefined || --group.active > 0) return undefined;
    this.#group = undefined;
    const { scope, names } = group;
    return Object.assign(scope, { name: [...new Set(names)].join('", "') });
  }
}

/** `AsyncLocalStorage` where there is one. */
function asyncStorage(): Storage | undefined {
  const hooks = builtin<{ AsyncLocalStorage: new () => Storage }>("node:async_hooks");
  return hooks === undefined ? undefined : new hooks.AsyncLocalStorage();
}

/** The realm's scopes: one for however many copies of the library are loaded. */
export function scopes(): TestScopes {
  const log = detector();
  log.scopes ??= new TestScopes();
  return log.scopes as TestScopes;
}

/**
 * Records at level `full`, whatever the program tracks meanwhile, until the last of those who asked for it has called what
 * this returns: bodies that run at once share it, whichever ends first.
 */
export function trackFully(): () => void {
  const log = detector();
  if (log.tests === undefined) {
    const tracking = track({ level: "full" }, true);
    log.tests = { users: 0, stop: () => tracking[DISPOSE]() };
  }
  const { tests } = log;
  tests.users++;
  return () => {
    if (--tests.users > 0) return;
    log.tests = undefined;
    tests.stop();
  };
}

const inScope =
  (scope: Scope) =>
  (account: Account): boolean =>
    scope.holds(account.more?.scope);

/** What a scope has left behind. */
export function reportOn(scope: Scope): LeakReport {
  return reportOf({
    accounts: inScope(scope),
    finds: [...scope.finds.groups.values()],
    asked: "error.report",
  });
}

function clean(scope: Scope): boolean {
  for (let at = detector().head; at !== undefined; at = at.next) if (inScope(scope)(at)) return false;
  return true;
}

/** How often a check looks again for cleanup that is still under way. */
export const GRACE = 20;

/** The milliseconds before an attempt: macrotasks first, then a millisecond more each time. */
export const graceOf = (attempt: number): number => Math.max(0, attempt - 9);

/** Waits for asynchronous cleanup. */
export async function graceFor(scope: Scope, attempts: number): Promise<void> {
  for (let attempt = 0; attempt < attempts && !clean(scope); attempt++) await pause(graceOf(attempt));
}

/** @returns How many attempts `options` ask for. */
export function graceIn(options: LeakCheckOptions): number {
  checkObject("check for leaks", options);
  const { grace = GRACE } = options;
  if (!Number.isInteger(grace) || grace < 0) {
    throw new RangeError(
      `Cannot check for leaks: expected grace to be a whole number >= 0, received ${received(grace)}`,
    );
  }
  return grace;
}
