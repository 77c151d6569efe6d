import {
  type ErrorFacts,
  LeaseLostError,
  type LeaseLostFacts,
  LeaseTimeoutError,
  LeaseUnsupportedError,
} from "../errors";
import type { Sites } from "../tracker";

/** What every error says of a lease that is held by no account. */
export function factsOf(name: string): ErrorFacts {
  return { kind: "lease", label: name, refCount: 0, owed: 0 };
}

/** What a lease that was lost says. `bound` is how long it may be held. */
export function lossOf(name: string, reason: LeaseLostFacts["reason"], bound: string): string {
  const why = {
    expired: "its time to live ran out before it was renewed",
    taken: "its key was deleted or is held by somebody else",
    "max-hold": `it was held ${bound}, the longest that was allowed`,
    closed: "its leases were closed",
  };
  return `Cannot rely on lease "${name}": ${why[reason]}`;
}

/** The leases were closed before it could be acquired. */
export function closed(name: string): LeaseLostError {
  return new LeaseLostError(`Cannot acquire lease "${name}": the leases were closed`, {
    ...factsOf(name),
    reason: "closed",
    deadline: undefined,
    lastRenewedAt: undefined,
  });
}

/** The server does not allow what it takes. */
export function unsupported(name: string, force: boolean, why: string, cause?: unknown): LeaseUnsupportedError {
  const facts = cause === undefined ? factsOf(name) : { ...factsOf(name), cause };
  return new LeaseUnsupportedError(`Cannot ${verb(force)} lease "${name}": ${why}`, facts);
}

/** It could not be taken by force. */
export function unforced(name: string, waited: number, why: string, cause?: unknown): LeaseTimeoutError {
  const ms = Math.round(waited);
  return new LeaseTimeoutError(`Cannot force lease "${name}": waited ${ms} ms and ${why}`, {
    ...factsOf(name),
    waited: ms,
    remaining: undefined,
    cause,
  });
}

/** Its caller has no time left that it could be held for. */
export function overdue(name: string, force: boolean): LeaseTimeoutError {
  return new LeaseTimeoutError(`Cannot ${verb(force)} lease "${name}": its deadline is over`, {
    ...factsOf(name),
    waited: 0,
    remaining: undefined,
  });
}

/** A message with where an account was opened and closed, as far as anybody wrote that down. */
export function withSites(message: string, sites: Sites | undefined): string {
  if (sites === undefined) return message;
  const { opened, closed, by } = sites;
  const lines = [message];
  if (opened) lines.push(`  opened: ${opened}`);
  if (closed) lines.push(`  given back first: ${closed}`);
  if (by) lines.push(`  by: ${by}`);
  return lines.join("\n");
}

function verb(force: boolean): string {
  return force ? "force" : "acquire";
}
