import { textOf } from "../errors";
import type { AccountRecord, ContextRecord, ResourceRecord, Sites } from "../tracker";
import { ticks } from "./clock";
import type { Context } from "./context-record";
import type { Family } from "./families";
import { NOWHERE, type Place, Site, siteOf } from "./sites";
import { capture } from "./stack";
import { withSites } from "./text";

interface TouchRecord {
  readonly hint: string;
  place: Place;
}

/** Of the unpaid references of an account, so many first and so many last keep their place. */
const TAKES_KEPT = 8;
const TOUCHES_KEPT = 8;

/** Where the references beyond the first were taken that nothing has paid for. */
class Takes {
  places: Place[] = [];
  /** Those in their middle whose place is not kept. */
  dropped = 0;

  take(place: Place): void {
    this.places.push(place);
    // The first and the last are kept: the middle of a long history is the least telling.
    if (this.places.length <= 2 * TAKES_KEPT) return;
    this.places.splice(TAKES_KEPT, 1);
    this.dropped++;
  }

  /** A payment is for the newest reference that is not paid. */
  pay(): void {
    if (this.dropped > 0 && this.places.length === TAKES_KEPT) this.dropped--;
    else this.places.pop();
  }
}

/** Where the account was last moved, and on a resource where it was revoked. */
interface Ends {
  moved?: Place;
  revoked?: Place;
}

/** What only some records have: an object of its own, so that the others stay small. */
export class More {
  /** On a resource: references recorded as open, and ever taken. */
  refs: number;
  taken = 1;
  bytes = 0;
  weight = 1;
  context: Context | undefined = undefined;
  closed: Place = undefined;
  by: string | undefined = undefined;
  /** On a resource: it has been freed. Of a revoked one accounts may still owe. */
  freed = false;
  /** On a resource: the first account of it that was closed. */
  firstClosed: Account | undefined = undefined;
  /** The test or body that opened the account. */
  scope: object | undefined = undefined;
  takes: Takes | undefined = undefined;
  ends: Ends | undefined = undefined;
  touches: TouchRecord[] | undefined = undefined;
  touchesDropped = 0;
  /** Of an exclusive kind: the value, if it is no object. */
  value: unknown = undefined;
  /** Of an exclusive kind: who had the value when this one was opened. */
  firstOwner: Account | undefined = undefined;
  /** Frees the resource. It reaches the value, so it is kept for kinds that ask to be freed only. */
  settle: ((owed: number) => Promise<void> | undefined) | undefined = undefined;
  heldTooLong = false;
  escaped = false;
  /** Stands in the list of records with captures to be read. */
  pending = false;

  constructor(refs: number) {
    this.refs = refs;
  }
}

/** The place of what was closed so long ago that the quarantine has given it up. */
const FORGOTTEN = "(no longer kept: the quarantine has moved on)";
const GONE = new Site([]);

/**
 * The record of one account. The first account's record is also that of its resource: a resource with one account, the
 * rule, costs one object. It must never reach the handle or the value.
 */
export class Account implements ResourceRecord, AccountRecord {
  readonly family: Family;
  readonly label: string;
  /** Numbers the accounts as they are opened; the first one's is the resource's. */
  readonly id: number;
  /** The resource's record: its first account's. */
  readonly first: Account;
  holder: string | undefined = undefined;
  opened: Place = undefined;
  /** 0 before the first account is opened and after this one is closed. */
  owed = 0;
  at = -1;
  prev: Account | undefined = undefined;
  next: Account | undefined = undefined;
  more: More | undefined = undefined;

  constructor(family: Family, label: string, id: number, first?: Account) {
    this.family = family;
    this.label = label;
    this.id = id;
    this.first = first ?? this;
  }

  rich(): More {
    this.more ??= new More(this.owed);
    return this.more;
  }

  get refs(): number {
    return this.more?.refs ?? this.owed;
  }

  account(handle: object, holder: string | undefined): AccountRecord {
    const fresh = this.at < 0;
    // Stringified now, and before anything is counted: what is kept must not reach anything.
    const name = holder === undefined ? undefined : textOf(holder, "holder");
    const account = fresh ? this : new Account(this.family, this.label, ++this.family.detector.lastId, this);
    if (!fresh) {
      const more = this.rich();
      more.refs++;
      more.taken++;
      if (more.weight !== 1) account.rich().weight = more.weight;
    }
    account.owed = 1;
    account.at = ticks();
    account.holder = name;
    if (fresh && account.more !== undefined) account.more.refs += 1;
    const { detector } = this.family;
    // Captured here: every call deeper is one more frame to capture.
    account.opened = capture(detector.recording, fresh ? "openLimit" : "dupLimit");
    detector.opened(account, handle);
    const firstOwner = account.more?.firstOwner;
    if (firstOwner !== undefined) {
      account.rich().firstOwner = undefined;
      detector.twoOwners(account, firstOwner);
    }
    return account;
  }

  freed(): void {
    const { family, more } = this;
    const owners = more?.value === undefined ? undefined : family.primitiveOwners.get(more.value);
    if (owners !== undefined) {
      const others = owners.filter((owner) => owner !== this);
      if (others.length > 0) family.primitiveOwners.set(more?.value, others);
      else family.primitiveOwners.delete(more?.value);
    }
    if (more !== undefined) more.value = undefined;
    const ended = this.owed > 0 ? this.rich() : more;
    if (ended !== undefined) {
      ended.settle = undefined;
      ended.freed = true;
    }
    family.detector.observer?.freed(this);
  }

  counted(delta: 1 | -1): void {
    const resource = this.first.rich();
    this.owed += delta;
    resource.refs += delta;
    if (delta > 0) resource.taken++;
    if (delta < 0) {
      this.more?.takes?.pay();
      return;
    }
    const place = capture(this.family.detector.recording, "closeLimit");
    // One without a place counts where others have one: a payment is for the newest of them.
    if (place === undefined && this.more?.takes === undefined) return;
    const more = this.rich();
    more.takes ??= new Takes();
    more.takes.take(place);
    this.family.detector.captures.await(this);
  }

  closed(): void {
    const more = this.rich();
    const resource = this.first.rich();
    resource.refs -= this.owed;
    resource.firstClosed ??= this;
    more.by = this.holder ?? (more.context?.current.ended ? "the end of its context" : undefined);
    // A context pays some calls further down.
    more.closed = capture(this.family.detector.recording, more.context === undefined ? "closeLimit" : "endLimit");
    this.owed = 0;
    this.family.detector.closed(this);
  }

  moved(to: object): void {
    if (this.more !== undefined) this.more.context = undefined;
    this.ended("moved");
    this.family.detector.movedTo(this, to);
  }

  revoked(): void {
    this.ended("revoked");
  }

  /** Writes down where somebody else than the holder has ended its use of the handle. */
  ended(how: "moved" | "revoked"): void {
    const { detector } = this.family;
    const place = capture(detector.recording, "closeLimit");
    if (place === undefined) return;
    const more = this.rich();
    more.ends ??= {};
    more.ends[how] = place;
    detector.captures.await(this);
  }

  owned(context: ContextRecord | undefined): void {
    this.rich().context = context as Context | undefined;
  }

  escaped(): void {
    const more = this.rich();
    more.context = undefined;
    more.escaped = true;
    this.family.detector.escaped(this);
  }

  refused<F extends object, E extends Error>(
    Refusal: new (message: string, facts: F) => E,
    message: string,
    facts: F,
  ): E {
    const { detector } = this.family;
    // Not the error's own stack: that begins with a message, which may look like one.
    const place = capture(detector.recording, "openLimit") ?? new Error();
    const sites = this.sites();
    const moved = Refusal.name === "MovedError" ? this.more?.ends?.moved : undefined;
    const revoked = Refusal.name === "RevokedError" ? this.first.more?.ends?.revoked : undefined;
    const ends = { moved: siteOf(moved)?.brief, revoked: siteOf(revoked)?.brief };
    const error = new Refusal(withSites(message, { ...sites, ...ends }), { ...facts, ...sites });
    detector.misused(this, error, place);
    return error;
  }

  touch(hint: string): void {
    const more = this.rich();
    more.touches ??= [];
    const { touches } = more;
    if (touches.length >= TOUCHES_KEPT) {
      // Thinned as Netty does: every other one in the middle goes, the first and the last stay.
      const thin = touches.filter((_, i) => i === 0 || i % 2 === 1);
      more.touchesDropped += touches.length - thin.length;
      more.touches = thin;
    }
    more.touches.push({ hint, place: capture(this.family.detector.recording, "closeLimit") });
    this.family.detector.captures.await(this);
  }

  sites(): Sites {
    this.read();
    this.first.read();
    const { opened, more } = this;
    const closed = this.owed === 0 ? more?.closed : undefined;
    const forgotten = closed === GONE || (this.owed === 0 && more === undefined && this.at >= 0);
    return {
      opened: siteOf(opened)?.brief,
      closed: forgotten ? FORGOTTEN : siteOf(closed)?.brief,
      by: more?.by,
    };
  }

  /** Reads every capture, so that none keeps anything alive. */
  read(): void {
    const { detector } = this.family;
    this.opened = detector.read(this.opened);
    const { more } = this;
    if (more === undefined) return;
    more.pending = false;
    more.closed = detector.read(more.closed);
    const { takes, ends } = more;
    if (takes !== undefined) takes.places = takes.places.map((place) => detector.read(place));
    if (ends?.moved !== undefined) ends.moved = detector.read(ends.moved);
    if (ends?.revoked !== undefined) ends.revoked = detector.read(ends.revoked);
    for (const touch of more.touches ?? []) touch.place = detector.read(touch.place);
  }

  /** Too many were closed in one turn. */
  forgetUnread(): void {
    if (this.more?.closed instanceof Error) this.forget();
  }

  /** The quarantine gives the record up: what was not read by now never will be. */
  forget(): void {
    if (this.opened instanceof Error) this.opened = undefined;
    const { more } = this;
    // What it says of the resource is needed for as long as others hold that, and until it is freed.
    const needed = this.first === this && more !== undefined && (more.refs > 0 || more.value !== undefined);
    if (!needed) this.more = undefined;
    else Object.assign(more, { closed: GONE, by: undefined, takes: undefined, touches: undefined, ends: undefined });
  }

  get site(): Site {
    return siteOf(this.opened) ?? NOWHERE;
  }

  get over(): boolean {
    return this.owed === 0;
  }

  /** For the collector's callback. */
  collected(): void {
    if (this.owed > 0) this.family.detector.dropped(this);
  }
}
