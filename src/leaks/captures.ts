import type { Account } from "./account-record";
import { soon } from "./clock";
import type { Context } from "./context-record";

/** Records whose captures wait for the next macrotask; past that many they are read at once. */
const READ_AT_ONCE = 1024;
/** Of the accounts closed in one turn, those whose captures are read at its end: the last. */
const UNREAD_KEPT = 256;

/**
 * The captures that are still to be read, and the records of the recently closed (the quarantine), which are given up in
 * the order they were closed. An unread capture keeps what is on its stack alive until the next macrotask at most.
 */
export class Captures {
  #pending: (Account | Context)[] = [];
  #reading = false;
  /** The quarantine: a ring, in which `#next` is given up next. */
  #ring: (Account | undefined)[] = [];
  #next = 0;
  /** The newest in the ring whose captures may be unread. */
  #unread = 0;

  /** The record has captures that must be read by the next macrotask. */
  await(record: Account | Context): void {
    if (record.more?.pending) return;
    if (record.more !== undefined) record.more.pending = true;
    this.#pending.push(record);
    if (this.#pending.length >= READ_AT_ONCE) this.#readPending();
    else this.#readSoon();
  }

  /** Keeps the record of a closed account until `size` others have come after it. */
  keep(account: Account, size: number): void {
    this.#ring[this.#next]?.forget();
    this.#ring[this.#next] = account;
    this.#next = (this.#next + 1) % size;
    if (this.#unread < UNREAD_KEPT) this.#unread++;
    else this.#ring.at(this.#next - 1 - UNREAD_KEPT)?.forgetUnread();
    this.#readSoon();
  }

  /** The size of the quarantine has changed: what is in it is given up. */
  reset(): void {
    this.readAll();
    for (const account of this.#ring) account?.forget();
    this.#ring = [];
    this.#next = 0;
  }

  /** Reads every capture there is. */
  readAll(): void {
    this.#readPending();
    const ring = this.#ring;
    for (let left = Math.min(this.#unread, ring.length), i = this.#next; left > 0; left--) {
      i = (i === 0 ? ring.length : i) - 1;
      ring[i]?.read();
    }
    this.#unread = 0;
  }

  #readPending(): void {
    const pending = this.#pending;
    this.#pending = [];
    // The closed ones are the quarantine's: most of them are forgotten before anybody reads them.
    for (const record of pending) {
      // A closed one is not in there for where it was moved or revoked.
      if (!record.over || record.more?.ends !== undefined) record.read();
      else if (record.more !== undefined) record.more.pending = false;
    }
  }

  #readSoon(): void {
    if (this.#reading) return;
    this.#reading = true;
    soon(() => {
      this.#reading = false;
      this.readAll();
    });
  }
}
