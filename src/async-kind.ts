import { type Counted, ignore, isThenable, Kind } from "./account";

/** A kind whose free may return a promise. */
export class AsyncKind<T> extends Kind<T> {
  /** Never throws: who waits for `freeing` hears of what failed. */
  override end(counted: Counted<T>, value: T): void {
    this.freed++;
    const { release } = this;
    let returned: unknown;
    try {
      returned = release(value);
      if (!isThenable(returned)) return;
    } catch (error) {
      returned = Promise.reject(error);
    }
    counted.freeing = Promise.resolve(returned as PromiseLike<void>).then(
      () => {
        counted.freeing = undefined;
      },
      (error: unknown) => {
        counted.freeing = undefined;
        throw error;
      },
    );
    counted.freeing.catch(ignore);
  }
}
