// The part of Node that `lastref/register` uses: the core must not see Node's types, so they are not loaded.
declare module "node:diagnostics_channel" {
  export function channel(name: string): { readonly hasSubscribers: boolean; publish(message: unknown): void };
}
declare module "node:fs" {
  export function writeSync(fd: number, data: Uint8Array): number;
}
declare module "node:worker_threads" {
  export const isMainThread: boolean;
  export const threadId: number;
}
declare module "node:util" {
  export const TextEncoder: new () => { encode(text: string): Uint8Array };
}
declare module "node:process" {
  const process: {
    readonly env: Readonly<Record<string, string | undefined>>;
    exitCode: number | string | null | undefined;
    emitWarning(message: string): void;
    on(event: "exit", listener: () => void): void;
    on(event: "newListener", listener: (event: string | symbol, listener: unknown) => void): void;
    off(event: "exit", listener: () => void): void;
    nextTick(call: () => void): void;
  };
  export default process;
}
