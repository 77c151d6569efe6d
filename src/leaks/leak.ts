import type { Account } from "./account-record";
import { ticks } from "./clock";
import type { Context } from "./context-record";
import type { Detector } from "./detector";
import { CONTEXT } from "./finds";
import { hintFor } from "./hints";
import type { Suppressible } from "./session";
import { type Place, type Site, siteOf } from "./sites";
import { topOf } from "./stack";
import { printLeak } from "./text";
import type { Leak, LiveHandle, Touch, Verdict } from "./types";

const textOf = (place: Place): string => siteOf(place)?.text ?? "";

/** What is known of an open account. */
export function factsOf(account: Account): LiveHandle {
  const { first, more } = account;
  account.read();
  first.read();
  const touches: Touch[] = (more?.touches ?? []).map(({ hint, place }) => ({ hint, site: textOf(place) }));
  return {
    kind: account.family.kind,
    label: account.label,
    id: first.id,
    holder: account.holder ?? "",
    owed: account.owed,
    refCount: first.refs,
    taken: first.more?.taken ?? 1,
    opened: textOf(account.opened),
    created: textOf(first.opened),
    age: ticks() - account.at,
    bytes: first.more?.bytes ?? 0,
    weight: first.more?.weight ?? 1,
    touches,
    touchesDropped: more?.touchesDropped ?? 0,
  };
}

/** The others of them. */
function siblings(account: Account, accounts: readonly Account[]): LiveHandle[] {
  return accounts
    .filter((other) => other !== account)
    .slice(0, SIBLINGS_LISTED)
    .map(factsOf);
}

interface Extra {
  /** The open accounts on its resource, where they are known. */
  readonly accounts?: readonly Account[];
  readonly givenBack?: boolean;
  /** Where the call was that is refused. */
  readonly misuse?: Site;
  /** The code of that call's error. */
  readonly code?: string;
  /** Who owned the value before. */
  readonly owner?: Account;
  readonly context?: Context;
  readonly owned?: readonly Account[];
}

const SIBLINGS_LISTED = 10;
const SIBLINGS_LOOKED_AT = 10_000;

/** The open accounts on the resources of these, the oldest first, in one walk. */
export function accountsOf(log: Detector, some: readonly Account[]): Map<Account, Account[]> {
  const found = new Map<Account, Account[]>();
  for (const { first, owed } of some) if (first.refs > owed) found.set(first, []);
  for (let at = found.size > 0 ? log.head : undefined; at !== undefined; at = at.next) {
    const accounts = found.get(at.first);
    if (accounts !== undefined && accounts.length <= SIBLINGS_LISTED) accounts.push(at);
  }
  return found;
}

/** The same for one, without a walk over all that is open. */
function accountsNear({ first, owed }: Account): Account[] {
  const found: Account[] = [];
  if (first.refs <= owed) return found;
  let at = first.owed > 0 ? first : first.family.detector.head;
  for (let looked = 0; at !== undefined && looked < SIBLINGS_LOOKED_AT; at = at.next, looked++) {
    if (at.first === first) found.push(at);
    if (found.length > SIBLINGS_LISTED) break;
  }
  return found;
}

/** What a suppression is compared with, without making a leak of the account. */
export function suppressible(account: Account): Suppressible {
  account.read();
  const { family, label, holder = "", opened } = account;
  return { kind: family.kind, label, holder, opened: textOf(opened) };
}

/** Where another account on the resource was closed, the first that was. */
function firstClose(account: Account): string {
  const closed = account.first.more?.firstClosed;
  if (closed === undefined) return "";
  closed.read();
  const place = textOf(closed.more?.closed);
  const top = topOf(place);
  const by = closed.more?.by;
  return [by, top].filter((part) => part !== undefined && part !== "").join(" at ");
}

type Rest = Pick<Leak, "handles" | "first" | "givenBack" | "unmatched" | "unmatchedDropped">;

function make(verdict: Verdict, facts: LiveHandle, rest: Rest, code?: string): Leak {
  const leak: Leak = { verdict, ...facts, ...rest, hint: hintFor(verdict, facts.kind, code) };
  return Object.defineProperty(leak, "toString", { value: () => printLeak(leak) });
}

/** Makes what a listener is told. */
export function leakOf(verdict: Verdict, account: Account, extra: Extra = {}): Leak {
  if (extra.context !== undefined) return contextLeak(extra.context, extra.owned ?? []);
  const facts = factsOf(account);
  const rest = {
    handles: siblings(account, extra.accounts ?? accountsNear(account)),
    first: firstClose(account),
    givenBack: extra.givenBack ?? false,
  };
  if (extra.owner !== undefined) rest.first = factsOf(extra.owner).opened;
  if (extra.misuse !== undefined) rest.first = account.sites().closed ?? "";
  const takes = account.more?.takes;
  const unmatched = (takes?.places ?? []).map(textOf);
  return make(verdict, facts, { ...rest, unmatched, unmatchedDropped: takes?.dropped ?? 0 }, extra.code);
}

function contextLeak(context: Context, owned: readonly Account[]): Leak {
  const handles = owned.map(factsOf);
  const sum = (of: (handle: LiveHandle) => number): number => handles.reduce((total, handle) => total + of(handle), 0);
  const facts: LiveHandle = {
    kind: CONTEXT,
    label: "",
    id: context.id,
    holder: "",
    owed: sum((handle) => handle.owed),
    refCount: sum((handle) => handle.owed),
    taken: sum((handle) => handle.owed),
    opened: context.site.text,
    created: context.site.text,
    age: ticks() - context.at,
    bytes: sum((handle) => handle.bytes),
    weight: 1,
    touches: [],
    touchesDropped: 0,
  };
  return make("dropped", facts, { handles, first: "", givenBack: false, unmatched: [], unmatchedDropped: 0 });
}
