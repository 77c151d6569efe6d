// Compiled as a strict user does: no DOM, no @types/node, no esnext.disposable, declarations checked.
import {
  AsyncAutoMemory,
  type AsyncHandle,
  type AsyncResource,
  AutoMemory,
  defineAsyncResource,
  defineResource,
  Handle,
  LastrefError,
  type Loan,
  MAX_REFS,
  MovedError,
  RefCountError,
  type Resource,
  type ResourceStats,
  SuppressedError,
  setPanic,
  UseAfterFreeError,
  type WeakHandle,
} from "lastref";

/** Two types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
export function same<T extends true>(): T | undefined {
  return undefined;
}

const Key = defineResource({
  kind: "key",
  open: (name: string, mode: "read" | "write") => ({ name, mode }),
  free: (key) => {
    const mode: "read" | "write" = key.mode;
    return void mode;
  },
  label: (key, name, mode) => `${key.name} ${name?.length} ${mode}`,
});
same<Same<Parameters<typeof Key.open>, [name: string, mode: "read" | "write"]>>();
const key = Key.open("a", "write");
same<Same<typeof key, Handle<{ name: string; mode: "read" | "write" }>>>();
const dup: Handle<{ name: string }> = key.dup("reader");
const weak: WeakHandle<typeof key> = key.weak();
const up: typeof key | undefined = weak.upgrade();
const stats: ResourceStats = Key.stats;
const last: boolean = key.decrRef();
const borrowed: number = key.borrow((value, loan: Loan<{ name: string }>) => value.name.length + loan.label.length);
const promised: Promise<string> = key.borrow(async (value) => value.name);
// @ts-expect-error a wrong mode
Key.open("a", "append");
// @ts-expect-error too few arguments
Key.open("a");
// @ts-expect-error the value is read only
key.value = { name: "", mode: "read" };
// @ts-expect-error an asynchronous open where none is waited for has no such value
Key.open("a", "read").value.then;

const Wrapped = defineResource<number>({ kind: "fd", free: (fd) => void fd });
same<Same<Parameters<typeof Wrapped.open>, [value: number]>>();
// What open takes is read from open alone: a label does not say that it takes nothing.
const Labelled = defineResource({
  kind: "fd",
  free: (fd: number) => void fd,
  label: (fd) => fd.toFixed(),
  bytes: (fd) => fd,
});
same<Same<Parameters<typeof Labelled.open>, [value: number]>>();
const AsyncLabelled = defineAsyncResource({ kind: "fd", free: async (_: number) => {}, label: () => "a" });
same<Same<Parameters<typeof AsyncLabelled.open>, [value: number]>>();
const general: Resource<number, [value: number]> = Wrapped;

const Link = defineAsyncResource({
  kind: "link",
  open: async (host: string, port?: number) => ({ host, port: port ?? 80 }),
  free: async () => {},
});
same<Same<Parameters<typeof Link.open>, [host: string, port?: number]>>();
const link: Promise<AsyncHandle<{ host: string; port: number }>> = Link.open("localhost");
const generalLink: AsyncResource<{ host: string; port: number }, [host: string, port?: number]> = Link;

const memory = new AutoMemory();
const used: Handle<number> = memory.use(Handle.of(1, (n) => void n.toFixed()));
const nothing: null = memory.use(null);
const opened = memory.open(Key, "a", "read");
same<Same<typeof opened, typeof key>>();
// @ts-expect-error a wrong argument
memory.open(Key, 1, "read");
// @ts-expect-error a number is no disposable
memory.use(5);
const kept: Handle<number> = memory.keep(used);
const held: Handle<number> = memory.hold(used, "context");
const moved: AutoMemory = memory.move();
const ran: Promise<number> = AutoMemory.run(async (inner) => inner.size);
class Mine extends AutoMemory {}

export async function asynchronous(): Promise<void> {
  const context = new AsyncAutoMemory();
  const file: Handle<number> = context.open(Wrapped, 5);
  const late: AsyncHandle<{ host: string; port: number }> = await context.open(Link, "localhost", 8080);
  const both: [Handle<number>, typeof late] = [context.hold(file), context.hold(late)];
  const counted: boolean = await late.decrRef();
  const result: string = await late.borrow((value) => value.host);
  await context.disposeAsync();
  await AsyncAutoMemory.run((inner) => inner.freeAll());
  return void [both, counted, result];
}

try {
  setPanic((error) => void (error.code satisfies "ERR_REFCOUNT"));
} catch (error) {
  if (error instanceof RefCountError) same<Same<typeof error.code, "ERR_REFCOUNT">>();
  if (error instanceof MovedError || error instanceof UseAfterFreeError) void error.refCount;
  if (error instanceof LastrefError) void [error.code, error.kind, error.label, error.owed, error.opened];
  if (error instanceof SuppressedError) void [error.error, error.suppressed];
}

export const all = [dup, up, stats, last, borrowed, promised, general, link, generalLink, nothing, opened, kept, held];
export const rest = [moved, ran, Mine, MAX_REFS];
