/** What somebody writes by hand: one checked counter, a value and its free function. */
export class ByHand<T> {
  readonly value: T;
  readonly free: (value: T) => void;
  count = 1;

  constructor(value: T, free: (value: T) => void) {
    this.value = value;
    this.free = free;
  }

  incrRef(): this {
    if (this.count <= 0) throw new Error("incrRef on a freed value");
    this.count++;
    return this;
  }

  decrRef(): boolean {
    if (this.count <= 0) throw new Error("decrRef against count <= 0");
    if (--this.count > 0) return false;
    this.free(this.value);
    return true;
  }
}
