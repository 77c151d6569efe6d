/** A pool as it is written in an afternoon around clients that bring none: at most three, the last one used first. */
export class TinyPool<T> {
  readonly #create: () => Promise<T>;
  readonly #close: (client: T) => unknown;
  readonly #idle: T[] = [];
  readonly #all = new Set<T>();
  readonly #waiting: ((client: T | PromiseLike<T>) => void)[] = [];
  #size = 0;

  constructor(create: () => Promise<T>, close: (client: T) => unknown) {
    this.#create = create;
    this.#close = close;
  }

  acquire(): Promise<T> {
    const idle = this.#idle.pop();
    if (idle !== undefined) return Promise.resolve(idle);
    if (this.#size < 3) return this.#open();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  release(client: T): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#idle.push(client);
    else next(client);
  }

  destroy(client: T): void {
    this.#close(client);
    this.#all.delete(client);
    this.#size--;
    this.#waiting.shift()?.(this.#open());
  }

  /** Clients that are open, lent out or idle. */
  get size(): number {
    return this.#size;
  }

  end(): void {
    for (const client of this.#all) this.#close(client);
  }

  async #open(): Promise<T> {
    this.#size++;
    try {
      const client = await this.#create();
      this.#all.add(client);
      return client;
    } catch (error) {
      this.#size--;
      throw error;
    }
  }
}
