import type { Account } from "./account-record";
import { ticks } from "./clock";
import type { Context } from "./context-record";
import { CONTEXT } from "./finds";
import { hintFor } from "./hints";
import { type Place, type Site, siteOf } from "./sites";
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

interface Extra {
  readonly givenBack?: boolean;
  /** Where the call was that is refused. */
  readonly misuse?: Site;
  /** Who owned the value before. */
  readonly owner?: Account;
  readonly context?: Context;
  readonly owned?: readonly Account[];
}

const SIBLINGS_LISTED = 10;
const SIBLINGS_LOOKED_AT = 10_000;

/** The other open accounts on the resource. */
function siblings(account: Account): LiveHandle[] {
  const { first } = account;
  const found: LiveHandle[] = [];
  if (first.refs <= account.owed) return found;
  let looked = 0;
  for (let at = first.family.detector.head; at !== undefined && looked < SIBLINGS_LOOKED_AT; at = at.next, looked++) {
    if (at.first !== first || at === account) continue;
    found.push(factsOf(at));
    if (found.length === SIBLINGS_LISTED) break;
  }
  return found;
}

/** Where another account on the resource was closed, the first that was. */
function firstClose(account: Account): string {
  const closed = account.first.more?.firstClosed;
  if (closed === undefined) return "";
  closed.read();
  const place = textOf(closed.more?.closed);
  const [top = ""] = place.split("\n");
  const by = closed.more?.by;
  return [by, top].filter((part) => part !== undefined && part !== "").join(" at ");
}

/** The steps of the account that nothing has paid for, newest first counted against the pays: the unmatched `incrRef`s. */
function unmatched(account: Account): string[] {
  const open: string[] = [];
  for (const { delta, place } of account.more?.steps ?? []) {
    if (delta > 0) open.push(textOf(place));
    else open.pop();
  }
  return open;
}

function make(
  verdict: Verdict,
  facts: LiveHandle,
  rest: Pick<Leak, "handles" | "first" | "givenBack" | "unmatched">,
): Leak {
  const leak: Leak = { verdict, ...facts, ...rest, hint: hintFor(verdict, facts.kind) };
  return Object.defineProperty(leak, "toString", { value: () => printLeak(leak) });
}

/** Makes what a listener is told. */
export function leakOf(verdict: Verdict, account: Account, extra: Extra = {}): Leak {
  if (extra.context !== undefined) return contextLeak(extra.context, extra.owned ?? []);
  const facts = factsOf(account);
  const rest = { handles: siblings(account), first: firstClose(account), givenBack: extra.givenBack ?? false };
  if (extra.owner !== undefined) rest.first = factsOf(extra.owner).opened;
  if (extra.misuse !== undefined) rest.first = account.sites().closed ?? "";
  return make(verdict, facts, { ...rest, unmatched: unmatched(account) });
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
  return make("dropped", facts, { handles, first: "", givenBack: false, unmatched: [] });
}
