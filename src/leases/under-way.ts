/** Counts what is under way, and tells when nothing is any more. */
export class UnderWay {
  #count = 0;
  #over: (() => void) | undefined;

  /** Whether anything is. */
  get some(): boolean {
    return this.#count > 0;
  }

  begin(): void {
    this.#count++;
  }

  end(): void {
    if (--this.#count === 0) this.#over?.();
  }

  /** Settles when nothing is, for good if nothing new begins. */
  over(): Promise<void> {
    return new Promise((resolve) => {
      this.#over = resolve;
      if (this.#count === 0) resolve();
    });
  }
}
