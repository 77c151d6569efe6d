import { isThenable, named, warn } from "../account";
import { reasonOf } from "../errors";
import { realm } from "../tracker";
import type { Account } from "./account-record";
import { Captures } from "./captures";
import { soon } from "./clock";
import type { Context } from "./context-record";
import { Families } from "./families";
import { Finds } from "./finds";
import { accountsOf, leakOf, suppressible } from "./leak";
import type { Session, Suppressible } from "./session";
import { type Place, type Site, SiteTable } from "./sites";
import type { Leak } from "./types";
import { emitLeaks } from "./warnings";

/** What `lastref/register` publishes on its channels. */
export interface Observer {
  opened(account: Account): void;
  freed(account: Account): void;
  leaked(leak: Leak): void;
}

/** What is asked by `lastref/testing`: who is to be charged with what is opened now. */
export interface Scopes {
  current(): object | undefined;
  /** @returns Whether a test fails with it. */
  found(scope: object, leak: Leak): boolean;
  closedElsewhere(account: Account, scope: object, now: object): void;
}

interface Collectable {
  collected(): void;
}

/**
 * The detector's one state: the open accounts' records in the order they were opened, the collector's registry, the
 * captures, and what was found.
 */
export class Detector {
  readonly sites = new SiteTable();
  readonly captures = new Captures();
  readonly families = new Families(this);
  readonly registry = new FinalizationRegistry<Collectable>((held) => this.#collected(held));
  /** Whose listener, patience and suppressions count: the program's newest. */
  session: Session | undefined = undefined;
  /** Who says how much is recorded: that one, or a firm one that asks for more. */
  recording: Session | undefined = undefined;
  /** Every session that was started and has not ended, the newest last. */
  sessions: Session[] = [];
  observer: Observer | undefined = undefined;
  scopes: Scopes | undefined = undefined;
  /** The tracking that tests have switched on for themselves, and how many of them are under way. */
  tests: { users: number; readonly stop: () => void } | undefined = undefined;
  head: Account | undefined = undefined;
  tail: Account | undefined = undefined;
  lastId = 0;
  /** The newest record when tracking began: reports are about what was opened later. */
  since = 0;
  /** Hear of every account that was dropped. */
  readonly onDropped = new Set<(account: Account) => void>();
  readonly #finds = new Finds();
  #batch: Account[] = [];
  #contexts: Context[] = [];
  #draining = false;
  /** Dropped accounts whose contexts have not been heard of yet. */
  readonly #waiting = new Set<Account>();
  /** Leaks that fail a test: no warning says them again. */
  readonly #charged = new WeakSet<Leak>();

  /** See {@link Session.patience}. */
  patience(kind: string): number {
    return this.session?.patience(kind) ?? Infinity;
  }

  /** What was found since tracking began. */
  get finds(): Finds {
    return this.sessions[0]?.finds ?? this.#finds;
  }

  read(place: Place): Place {
    if (!(place instanceof Error)) return place;
    const { recording } = this;
    return recording === undefined ? this.#site(place) : recording.timed(this.#site, place);
  }

  readonly #site = (taken: Error): Site => this.sites.site(taken, this.recording?.depth ?? 8);

  opened(account: Account, handle: object): void {
    const scope = this.scopes?.current();
    if (scope !== undefined) account.rich().scope = scope;
    account.prev = this.tail;
    if (this.tail === undefined) this.head = account;
    else this.tail.next = account;
    this.tail = account;
    account.family.live++;
    this.registry.register(handle, account, account);
    if (account.opened !== undefined) this.captures.await(account);
    this.observer?.opened(account);
  }

  closed(account: Account): void {
    this.#unlink(account);
    this.registry.unregister(account);
    const { more } = account;
    if (more === undefined) return;
    if (more.scope !== undefined) {
      const now = this.scopes?.current();
      if (now !== undefined && now !== more.scope) this.scopes?.closedElsewhere(account, more.scope, now);
    }
    if (more.heldTooLong) this.report([leakOf("held-too-long", account, { givenBack: true })]);
    const size = this.session?.quarantine;
    if (size === 0) account.forget();
    if (!size || (more.closed === undefined && account.opened === undefined)) return;
    this.captures.keep(account, size);
  }

  movedTo(account: Account, handle: object): void {
    if (account.owed === 0) return;
    this.registry.unregister(account);
    this.registry.register(handle, account, account);
  }

  escaped(account: Account): void {
    if (account.owed > 0) this.report([leakOf("escaped", account)]);
  }

  misused(account: Account, error: Error, place: Error): void {
    const { code = "" } = error as { code?: string };
    const verdict = ["ERR_REFCOUNT", "ERR_LOAN"].includes(code) ? "over-released" : "use-after-free";
    account.read();
    const site = this.read(place) as Site;
    const leak = leakOf(verdict, account, { misuse: site, code });
    if (!this.suppressed(leak)) this.#find(leak, site);
  }

  /** What the newest tracking does not suppress is a find of every one under way that does not. */
  #find(leak: Leak, site?: Site): void {
    if (this.sessions.length === 0) this.#finds.add(leak, site);
    for (const session of this.sessions) {
      if (session === this.session || !session.suppresses(leak)) session.finds.add(leak, site);
    }
  }

  /** A value was opened that another live resource of its exclusive kind has already. */
  twoOwners(account: Account, first: Account): void {
    this.report([leakOf("two-owners", account, { owner: first })]);
  }

  dropped(account: Account): void {
    this.#batch.push(account);
    this.#drainSoon();
  }

  contextDropped(context: Context): void {
    this.#contexts.push(context);
    this.#drainSoon();
  }

  /** Tells whoever listens, each leak once. */
  report(leaks: readonly Leak[]): void {
    this.#tell(leaks.filter((leak) => !(ofOpen(leak) ? this.session?.suppression(leak) : this.suppressed(leak))));
  }

  /** @param older Of an account that was opened before tracking began: it is heard of, and is in no report. */
  #tell(heard: readonly Leak[], older: ReadonlySet<Leak> = new Set()): void {
    for (const leak of heard) {
      if (!ofOpen(leak) && !older.has(leak)) this.#find(leak);
      this.observer?.leaked(leak);
    }
    const onLeak = this.session?.onLeak;
    if (onLeak === undefined) {
      const unheard = heard.filter((leak) => !this.#charged.has(leak));
      if (unheard.length > 0) emitLeaks(unheard);
      return;
    }
    for (const leak of heard) {
      try {
        const told: unknown = onLeak(leak);
        if (isThenable(told)) Promise.resolve(told).catch(warn);
      } catch (error) {
        warn(error);
      }
    }
  }

  /** Whether nobody wants to hear of a leak; that is counted. */
  suppressed(leak: Suppressible): boolean {
    return this.session?.suppresses(leak) ?? false;
  }

  /** Whether the collector's finds have all been reported. */
  get drained(): boolean {
    return this.#batch.length === 0 && this.#contexts.length === 0 && this.#waiting.size === 0;
  }

  #unlink(account: Account): void {
    const { prev, next } = account;
    if (prev === undefined && next === undefined && this.head !== account) return;
    if (prev === undefined) this.head = next;
    else prev.next = next;
    if (next === undefined) this.tail = prev;
    else next.prev = prev;
    account.prev = undefined;
    account.next = undefined;
    account.family.live--;
  }

  /** One throw here would lose the rest of the batch on some runtimes. */
  #collected(held: Collectable): void {
    try {
      held.collected();
    } catch (error) {
      warn(error);
    }
  }

  #drainSoon(): void {
    if (this.#draining) return;
    this.#draining = true;
    // After the finalizer's whole batch, where that is one macrotask: contexts come before what they owned.
    Promise.resolve().then(() => {
      this.#draining = false;
      try {
        this.#drain();
      } catch (error) {
        warn(error);
      }
    });
  }

  #drain(): void {
    const contexts = this.#contexts;
    const batch = this.#batch;
    this.#contexts = [];
    this.#batch = [];
    const leaks: Leak[] = [];
    const older = new Set<Leak>();
    const listed = new Set<Account>();
    const add = (leak: Leak, account: Account): void => {
      if (this.suppressed(leak)) return;
      leaks.push(leak);
      if (account.id <= this.since) older.add(leak);
      const scope = account.more?.scope;
      if (scope !== undefined && this.scopes?.found(scope, leak)) this.#charged.add(leak);
    };
    for (const [context, all] of this.#ownedBy(contexts)) {
      for (const account of all) listed.add(account);
      const owned = all.filter((account) => !this.suppressed(suppressible(account)));
      const [first] = owned;
      if (first !== undefined) add(leakOf("dropped", first, { context, owned }), first);
    }
    const accounts = accountsOf(this, batch);
    for (const account of batch) {
      const waited = this.#waiting.delete(account);
      if (account.owed === 0 || listed.has(account)) continue;
      const context = account.more?.context?.current;
      if (context !== undefined && !context.ended && !context.lost && !waited) {
        // Its context is as dead as it is, and about to be heard of.
        this.#waiting.add(account);
        soon(() => this.dropped(account));
        continue;
      }
      add(leakOf("dropped", account, { accounts: accounts.get(account.first) ?? [] }), account);
      listed.add(account);
    }
    for (const account of listed) this.#unlink(account);
    this.#tell(leaks, older);
    // Last in first out, as a context pays.
    for (const account of [...listed].reverse()) this.#settle(account);
  }

  /** The open accounts of each context, in one walk: a batch may have thousands of contexts. */
  #ownedBy(contexts: readonly Context[]): Map<Context, Account[]> {
    const all = new Map(contexts.map((context): [Context, Account[]] => [context, []]));
    if (all.size === 0) return all;
    for (let at = this.head; at !== undefined; at = at.next) {
      const context = at.more?.context?.current;
      if (context !== undefined) all.get(context)?.push(at);
    }
    return all;
  }

  /** Ends the record of a dropped account; its references are given back where that was asked for. */
  #settle(account: Account): void {
    for (const call of this.onDropped) call(account);
    const { owed } = account;
    const resource = account.first.rich();
    resource.refs -= owed;
    account.owed = 0;
    const { settle } = resource;
    if (settle === undefined) return;
    const failed = (error: unknown): void => {
      const what = named(account.family.kind, account.label);
      warn(new Error(`Cannot free ${what}, which was dropped: ${reasonOf(error, "its free threw")}`, { cause: error }));
    };
    try {
      settle(owed)?.catch(failed);
    } catch (error) {
      failed(error);
    }
  }
}

/** What is said of an account that is still open is the report's while it is open, and no longer. */
function ofOpen({ verdict }: Leak): boolean {
  return verdict === "escaped" || verdict === "held-too-long";
}

/** The realm's detector: one for however many copies of the library are loaded. */
export function detector(): Detector {
  realm.detector ??= new Detector();
  return realm.detector as Detector;
}
