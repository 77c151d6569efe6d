import { Counted, count, type Kind, State } from "./account";
import { type AsyncHandle, AsyncHandleImpl } from "./async-handle";
import { AsyncKind } from "./async-kind";
import { type HolderFacts, textOf } from "./errors";
import { HandleImpl, openAccount } from "./handle";
import { LateController, now, onAbort } from "./host";
import type { StopListening } from "./map-options";
import { type OpenedThere, realm } from "./tracker";

/** Waits for room, or for its predecessor to end. Nothing has been opened. */
export const QUEUED = 0;
/** Its open is under way. */
export const OPENING = 1;
/** Its value has holders, or borrows that outlive them. */
export const HELD = 2;
/** Its value has none, and is kept. */
export const IDLE = 3;
/** Its free is under way. */
export const ENDING = 4;
export const ENDED = 5;

/** Shared, and always empty: an open value has no use for a set of its own. */
const NOBODY = new Set<never>();

/** Somebody who waits for an entry to be opened. */
export interface Waiter<K, T> {
  /** The entry whose open asked for this one. */
  readonly opener: Entry<K, T> | undefined;
  readonly holder: string | undefined;
  readonly here: OpenedThere | undefined;
  resolve(handle: AsyncHandle<T>): void;
  reject(error: unknown): void;
  /** Stops listening to the waiter's signal. */
  stop(): void;
}

/** Somebody who waits for the answer to whether an open value is still valid. */
export interface Question {
  /** Whatever the answer is, the value has left the map. One that is `lost` need not outlive the question either. */
  left(lost: boolean): void;
  giveUp(reason: unknown): void;
}

/** A holder that can be listed by name. The reference is weak: a list for error messages keeps nobody alive. */
interface Listed {
  readonly holder: string | undefined;
  readonly since: number;
  account: WeakRef<HandleImpl<unknown>>;
}

/**
 * One value of a keyed map, from the moment somebody asks for it until it is freed.
 *
 * Its signal aborts when nobody waits for the open any more. Its holders are counted by a {@link Counted} of its own generation: when the last one has given back the value may be
 * kept, and whoever comes next begins a new count, while the old accounts stay spent. Borrows can keep a generation
 * draining while the next one is in use already; the value is done with when all have ended.
 */
export class Entry<K, T> extends LateController {
  readonly key: K;
  /** The key as the first one to ask spelled it; for the open only. */
  given: K | undefined;
  label: string;
  bytes = 0;
  state = QUEUED;
  /** Whether the map still leads to this entry. */
  attached = true;
  /** Counts against the map's `max`. */
  roomy = false;
  /** Its holders were shut out by a forced close. */
  forced = false;
  value: T | undefined = undefined;
  /** How the first who asked for it is recorded: those who join are as he is. */
  asked: OpenedThere | undefined = undefined;
  /** Who waits for the open; nobody any more once it has settled. */
  waiters = new Set<Waiter<K, T>>();
  /** Who asks whether the value is valid. */
  asking: Set<Question> = NOBODY;
  /** What ends the acquires that the open asked for. */
  #within: Set<(reason: unknown) => void> | undefined = undefined;
  /** Stops the idle timer. */
  stopIdle: (() => void) | undefined = undefined;
  /** Stops the timer of the value's greatest age. */
  stopAge: (() => void) | undefined = undefined;
  /** Stops listening for the end of the value. */
  stopListening: StopListening | undefined = undefined;
  #kind: Kind<T>;
  #counted: Counted<T> | undefined = undefined;
  #generations = 0;
  #since = 0;
  #listed: Listed[] | undefined = undefined;

  /** @param lastOut Called when the value has neither holders nor borrows; what it returns is what the last holder waits for. */
  constructor(key: K, given: K, label: string, like: Kind<T>, lastOut: (entry: Entry<K, T>) => unknown) {
    super();
    this.key = key;
    this.given = given;
    this.label = label;
    const release = (): unknown => {
      if (this.#counted !== undefined && this.#counted.state & State.Freed) this.#counted = undefined;
      return --this.#generations === 0 ? lastOut(this) : undefined;
    };
    const kind = new AsyncKind<T>(like.name, release, like.exclusive, like.watch);
    kind.handle = (account, holder) => this.handle(account as HandleImpl<T>, holderName(holder));
    this.#kind = kind;
  }

  /** The open has settled: takes all who waited for it, who stop listening to their signals. */
  takeWaiters(): Waiter<K, T>[] {
    const taken = [...this.waiters];
    this.waiters = NOBODY;
    this.asked = undefined;
    for (const { stop } of taken) stop();
    return taken;
  }

  /** @returns What ends the question. */
  ask(question: Question): () => void {
    if (this.asking === NOBODY) this.asking = new Set();
    this.asking.add(question);
    return () => this.asking.delete(question);
  }

  /**
   * Calls once the open is given up. One listener on the signal for all: an open may acquire much, and hosts warn of many.
   *
   * @returns Its cancellation.
   */
  onGivenUp(call: (reason: unknown) => void): () => void {
    if (this.#within === undefined) {
      const within = new Set<typeof call>();
      this.#within = within;
      onAbort([this.signal], (reason) => {
        for (const one of within) one(reason);
      });
    }
    const within = this.#within.add(call);
    return () => within.delete(call);
  }

  /** References that the current holders owe. */
  get owed(): number {
    return this.#counted?.count ?? 0;
  }

  /** Whether the holders are gone and only borrows keep the value. */
  get draining(): boolean {
    return this.state === HELD && !this.#counted?.usable;
  }

  /** Opens an account on the value, of a new generation if the last one has no holders any more. */
  account(holder: string | undefined, here: OpenedThere | undefined): AsyncHandle<T> {
    let counted = this.#counted;
    if (counted === undefined || !counted.usable) {
      counted = new Counted(this.#kind, this.value as T, this.label, this.bytes, 0, State.Open);
      this.#counted = counted;
      this.#generations++;
      this.#since = now();
      this.#listed = undefined;
    }
    const current = counted;
    const open = () => (current.count === 0 ? firstAccount(current, holder) : openAccount(current, holder));
    const there = here ?? (realm.tracker && hereOn(current));
    return this.handle(there === undefined ? open() : there(open), holder);
  }

  /** A handle of an account that was just opened. */
  handle(account: HandleImpl<T>, holder: string | undefined): AsyncHandle<T> {
    const lists = holder !== undefined || realm.tracker !== undefined;
    return new MapHandle(account, this, lists ? this.#list(account, holder) : undefined);
  }

  /** Shuts all holders out. */
  revoke(): void {
    this.forced = true;
    this.#counted?.revoke();
  }

  /** Who holds the value, as far as that was asked for; accounts without a name are told by their number. */
  holders(): HolderFacts[] {
    const { label } = this;
    const at = now();
    const known = this.#known();
    const listed = known.map(({ holder, since, account }) => {
      const opened = HandleImpl.record(account.deref() as HandleImpl<unknown>)?.sites().opened;
      return { label, holder, heldFor: at - since, opened };
    });
    const others = this.owed - known.reduce((sum, one) => sum + owedBy(one), 0);
    if (others > 0) listed.push({ label, holder: undefined, heldFor: at - this.#since, opened: undefined });
    return listed;
  }

  /** `"a": 2 references, writer for 120 ms, a holder without a name for 3 ms`. */
  standing(): string {
    const { label, state, owed } = this;
    if (state === OPENING) return `"${label}": its open goes on`;
    if (owed === 0) return `"${label}": its free or its last borrow goes on`;
    return `"${label}": ${count(owed, "reference")}, ${holding(this.holders())}`;
  }

  #list(account: HandleImpl<T>, holder: string | undefined): Listed {
    if (this.#listed === undefined || this.#listed.length > 2 * this.owed + 8) this.#listed = this.#known();
    const listed = { holder, since: now(), account: new WeakRef(account as HandleImpl<unknown>) };
    this.#listed.push(listed);
    return listed;
  }

  #known(): Listed[] {
    return this.#listed?.filter((one) => owedBy(one) > 0) ?? [];
  }
}

function owedBy({ account }: Listed): number {
  return account.deref()?.owed ?? 0;
}

/**
 * A handle on an entry, which lists whom its dups are for and where it is moved to. Its loans and weak handles open such
 * ones as well.
 */
class MapHandle<T> extends AsyncHandleImpl<T> {
  readonly #entry: Entry<unknown, T>;
  readonly #listed: Listed | undefined;

  constructor(account: HandleImpl<T>, entry: Entry<unknown, T>, listed: Listed | undefined) {
    super(account);
    this.#entry = entry;
    this.#listed = listed;
  }

  override dup(holder?: string): AsyncHandle<T> {
    const name = holderName(holder);
    return this.#entry.handle(accountOf(super.dup(name)), name);
  }

  override move(): AsyncHandle<T> {
    const account = accountOf(super.move());
    // Listed under the same name, and not searched for: there may be very many.
    if (this.#listed !== undefined) this.#listed.account = new WeakRef(account as HandleImpl<unknown>);
    return new MapHandle(account, this.#entry, this.#listed);
  }
}

/** The account of a handle that is one of ours. */
export function accountOf<T>(handle: AsyncHandle<T>): HandleImpl<T> {
  return AsyncHandleImpl.account(handle) as HandleImpl<T>;
}

/** For an account that is opened the moment it is asked for: what records the caller's place, if it is recorded at all. */
function hereOn<T>({ count, record }: Counted<T>): OpenedThere | undefined {
  if (count > 0 && record === undefined) return undefined;
  return realm.tracker?.here?.(count === 0 ? "first" : "another");
}

/** A holder's name as it was given, made a string at once: an error that lists it much later must not fail by it. */
export function holderName(given: unknown): string | undefined {
  return given === undefined || typeof given === "string" ? given : textOf(given, "name");
}

/** Holders that a message names; the error has them all. */
const NAMED = 8;

/** The first account on a resource that was made without one. */
export function firstAccount<T>(counted: Counted<T>, holder: string | undefined): HandleImpl<T> {
  const account = openAccount(counted, holder);
  const wanted = counted.record === undefined && (counted.kind.watch || realm.tracker?.wants());
  if (wanted) HandleImpl.track(account, counted, holder);
  return account;
}

/** Who holds something and since when, in words. */
export function holding(holders: readonly HolderFacts[]): string {
  const words = holders.slice(0, NAMED).map(({ holder = "a holder without a name", heldFor, opened }) => {
    return `${holder} for ${Math.round(heldFor)} ms${opened === undefined ? "" : ` (opened: ${opened.split("\n")[0]})`}`;
  });
  if (holders.length > NAMED) words.push(`and ${holders.length - NAMED} more`);
  return words.join(", ");
}
