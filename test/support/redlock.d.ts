declare module "redlock" {
  interface RedlockLock {
    release(): Promise<unknown>;
  }
  export default class Redlock {
    constructor(clients: Iterable<unknown>, settings?: Record<string, unknown>);
    acquire(resources: string[], duration: number): Promise<RedlockLock>;
    quit(): Promise<void>;
  }
}
