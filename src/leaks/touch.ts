import { AsyncHandleImpl } from "../async-handle";
import { checkObject, textOf } from "../errors";
import { HandleImpl } from "../handle";
import type { Account } from "./account-record";

/**
 * Writes down that an account was seen here, for the report on it ("last touch", as Netty's `touch`). The first and the
 * last are kept, the ones in between are thinned. On an account without a record it does nothing.
 *
 * @param hint What it was seen at; turned into a string at once.
 * @throws {TypeError} If `handle` is no object.
 */
export function touch(handle: object, hint: unknown): void {
  checkObject("touch", handle, "a handle");
  // Every record is the detector's own, of whichever copy of the library.
  const record = HandleImpl.record(AsyncHandleImpl.account(handle) ?? handle) as Account | undefined;
  if (record !== undefined && record.owed > 0) record.touch(textOf(hint, "hint"));
}
