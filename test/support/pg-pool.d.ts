declare module "pg-pool" {
  interface Connection {
    release(broken?: boolean): void;
  }
  export default class Pool {
    constructor(options: { readonly Client: new () => unknown; readonly max: number });
    connect(): Promise<Connection>;
    end(): Promise<void>;
  }
}
