import { type Counted, ignore, isThenable, Kind } from "./account";

/** A free whose synchronous part is running: nobody waits for it yet. */
interface Beginning {
  readonly counted: Counted<unknown>;
  readonly outer: Beginning | undefined;
  /** Accounts that were closed in there, and are to leave their contexts when the free has settled. */
  readonly closed: (() => void)[];
}

let beginning: Beginning | undefined;

/** The resources in the synchronous part of whose frees the caller is: it must wait for none of them. */
export function begun(): readonly Counted<unknown>[] {
  const all: Counted<unknown>[] = [];
  for (let at = beginning; at !== undefined; at = at.outer) all.push(at.counted);
  return all;
}

/** Calls back when the free of `counted` has settled, if its synchronous part is running. */
export function onceBegun<T>(counted: Counted<T>, call: () => void): boolean {
  for (let at = beginning; at !== undefined; at = at.outer) {
    if ((at.counted as unknown) === counted) return at.closed.push(call) > 0;
  }
  return false;
}

/** A kind whose free may return a promise. */
export class AsyncKind<T> extends Kind<T> {
  /** Makes the handle of an account that a loan or a weak handle opened, where it is not an ordinary one. */
  handle: ((account: object, holder: string | undefined) => object) | undefined = undefined;

  /** Never throws: who waits for `freeing` hears of what failed. */
  override end(counted: Counted<T>, value: T): void {
    this.freed++;
    const { release } = this;
    const closed: (() => void)[] = [];
    let freeing: Promise<unknown> | undefined;
    beginning = { counted: counted as Counted<unknown>, outer: beginning, closed };
    try {
      const returned: unknown = release(value);
      if (isThenable(returned)) freeing = Promise.resolve(returned);
    } catch (error) {
      freeing = Promise.reject(error);
    } finally {
      beginning = beginning.outer;
    }
    counted.freeing = freeing?.then(
      () => {
        counted.freeing = undefined;
      },
      (error: unknown) => {
        counted.freeing = undefined;
        throw error;
      },
    );
    counted.freeing?.catch(ignore);
    for (const leave of closed) {
      if (counted.freeing === undefined) leave();
      else counted.freeing.then(leave, leave);
    }
  }
}
