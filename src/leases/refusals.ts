import { type ErrorFacts, LeaseLostError, LeaseTimeoutError, LeaseUnsupportedError } from "../errors";

/** What every error says of a lease that is held by no account. */
export function factsOf(name: string): ErrorFacts {
  return { kind: "lease", label: name, refCount: 0, owed: 0 };
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
export function unsupported(name: string, why: string): LeaseUnsupportedError {
  return new LeaseUnsupportedError(`Cannot acquire lease "${name}": ${why}`, factsOf(name));
}

/** Too few servers answered to take it by force. */
export function unanswered(name: string, cause: unknown): LeaseTimeoutError {
  return new LeaseTimeoutError(`Cannot force lease "${name}": too few servers answered`, {
    ...factsOf(name),
    waited: 0,
    remaining: undefined,
    cause,
  });
}

/** Its caller has no time left that it could be held for. */
export function overdue(name: string): LeaseTimeoutError {
  return new LeaseTimeoutError(`Cannot acquire lease "${name}": its deadline is over`, {
    ...factsOf(name),
    waited: 0,
    remaining: undefined,
  });
}
