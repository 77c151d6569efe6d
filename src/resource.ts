import { type Counted, ignore, isThenable, Kind, refuseAsync } from "./account";
import { type AsyncHandle, AsyncHandleImpl } from "./async-handle";
import { AsyncKind } from "./async-kind";
import { checkObject, reasonOf, unfit } from "./errors";
import { Flat } from "./flat";
import { checkNames, type Handle, HandleImpl, openHandle, openPlain } from "./handle";
import { OPEN_INTO, type OwnedList } from "./owned-list";
import { type ContextRecord, realm } from "./tracker";

/** What a kind has opened and freed so far. Plain counters, always on; immortal resources are not in them. */
export interface ResourceStats {
  /** Resources open now. */
  readonly live: number;
  readonly opened: number;
  readonly freed: number;
  /** The most that were open at once. */
  readonly peak: number;
  /** The sizes of the resources open now, as the definition's `bytes` gave them. */
  readonly bytes: number;
}

/** What names a resource that was made elsewhere and is wrapped now. */
export interface WrapOptions {
  /** Instead of what the definition's `label` would make of the value. */
  readonly label?: string;
  /** Never freed, never counted, never reported. */
  readonly immortal?: boolean;
}

/** What both kinds of definition have. */
interface Definition<T, A extends readonly unknown[]> {
  /** The name of the family in errors and reports: `"key"`. */
  readonly kind: string;
  /**
   * Names one resource. Called once, when it is opened (a wrapped value has no open arguments); one that throws is
   * contained, and the label says so. Leave it out for kinds opened millions of times.
   */
  readonly label?: (value: T, ...args: Partial<A>) => string;
  /** The size in bytes of one resource, for reports: a number, or a function called once. */
  readonly bytes?: number | ((value: T, ...args: Partial<A>) => number);
  /** No two live resources of this kind may share a value; at level `full` the second one is reported. */
  readonly exclusive?: boolean;
  /** Accounts of this kind are registered with the garbage collector at every tracking level. */
  readonly watch?: boolean;
}

/** What {@link defineResource} takes. */
export interface ResourceDefinition<T, A extends readonly unknown[]> extends Definition<T, A> {
  /** Frees one resource; run once, when its last reference was given back. */
  readonly free: (value: T) => void;
  /** Opens one resource. Without it `open` wraps the value it is given. */
  readonly open?: (...args: A) => T;
}

/** What {@link defineAsyncResource} takes. */
export interface AsyncResourceDefinition<T, A extends readonly unknown[]> extends Definition<T, A> {
  /** Frees one resource; run once, when its last reference was given back. */
  readonly free: (value: T) => void | PromiseLike<void>;
  /** Opens one resource. Without it `open` wraps the value it is given. */
  readonly open?: (...args: A) => T | PromiseLike<T>;
}

interface Definer<T, H> {
  readonly kind: string;
  /** What was opened and freed so far; a snapshot. */
  readonly stats: ResourceStats;
  /**
   * Takes in a value that was made elsewhere; the caller owes the handle's one reference.
   *
   * @throws {TypeError} If `label` is no string.
   */
  wrap(value: T, options?: WrapOptions): H;
}

/** A kind of resource with a synchronous free. */
export interface Resource<T, A extends readonly unknown[] = unknown[]> extends Definer<T, Handle<T>> {
  /**
   * Opens a resource; the caller owes the handle's one reference.
   *
   * @throws Whatever the definition's `open` throws; nothing was counted.
   * @throws {AsyncFreeError} If `open` returned a promise; its value is freed when it arrives.
   */
  open(...args: A): Handle<T>;
  /**
   * Closes the door for all accounts on a resource at once; it is freed now, or when its borrows end. This is the
   * opener's right, not every holder's. On a resource that was freed or revoked before it does nothing.
   *
   * @throws {TypeError} If the handle is not of this definition, or immortal.
   * @throws {MovedError} If the handle's account was moved to another handle.
   * @throws Whatever the free function throws.
   */
  revoke(handle: Handle<T>): void;
}

/** A kind of resource whose free, open or both are asynchronous. */
export interface AsyncResource<T, A extends readonly unknown[] = unknown[]> extends Definer<T, AsyncHandle<T>> {
  /**
   * Opens a resource; the caller owes the handle's one reference.
   *
   * @returns A promise that rejects with whatever the definition's `open` throws or rejects with; nothing was counted.
   */
  open(...args: A): Promise<AsyncHandle<T>>;
  /**
   * As {@link Resource.revoke}.
   *
   * @returns A promise that settles after the free if this caused it, and rejects with its failure.
   * @throws Synchronously, as {@link Resource.revoke}.
   */
  revoke(handle: AsyncHandle<T>): Promise<void>;
}

/** Where a definition keeps its {@link Family}, for what makes accounts of its own (a keyed map). */
const FAMILY = Symbol.for("lastref.family.v1");

/** What a definition is made of, of whichever copy of the library it is; `undefined` if it is none. */
export function familyOf<T>(resource: object): Family<T, readonly unknown[]> | undefined {
  return (resource as { [FAMILY]?: Family<T, readonly unknown[]> })[FAMILY];
}

/** A definition, checked: the kind it makes, and how a value of it gets its first account. */
export class Family<T, A extends readonly unknown[]> {
  readonly kind: Kind<T>;
  readonly open: ((...args: A) => T | PromiseLike<T>) | undefined;
  readonly #label: Definition<T, A>["label"];
  readonly #bytes: Definition<T, A>["bytes"];
  /** Neither a label nor a size to keep. */
  readonly plain: boolean;

  constructor(definition: AsyncResourceDefinition<T, A>, OfKind: typeof Kind) {
    checkObject("define a kind", definition, "a definition");
    const { label, bytes, exclusive = false, watch = false } = definition;
    checkNames(definition.kind, "", typeof bytes === "number" ? bytes : 0);
    for (const name of ["free", "open", "label", "bytes"] as const) {
      const given = definition[name];
      if (typeof given === "function" || (name === "bytes" && typeof given === "number")) continue;
      if (given !== undefined || name === "free") {
        throw unfit(`define kind "${definition.kind}"`, `${name} to be a function`, given);
      }
    }
    this.kind = new OfKind<T>(definition.kind, definition.free, exclusive, watch);
    // A kind lives no longer than its map, and perhaps nobody ever asks which there are.
    if (realm.kinds.length % 1024 === 0) realm.kinds = realm.kinds.filter((kind) => kind.deref());
    realm.kinds.push(new WeakRef(this.kind));
    this.open = definition.open;
    this.#label = label;
    this.#bytes = bytes;
    this.plain = label === undefined && !bytes && !watch;
  }

  account(value: T, args: A): HandleImpl<T> {
    return openHandle(this.kind, value, this.labelOf(value, args), this.bytesOf(value, args));
  }

  wrap(value: T, options: WrapOptions = {}): HandleImpl<T> {
    checkObject("wrap a value", options);
    const { label, immortal } = options;
    const none = [] as unknown as A;
    const given = label ?? this.labelOf(value, none);
    checkNames(this.kind.name, given, 0);
    return openHandle(this.kind, value, given, this.bytesOf(value, none), immortal === true);
  }

  /** Refuses a promise that a synchronous open returned; its value is freed when it arrives. */
  checkArrived(value: unknown): void {
    if (!isPromise(value) || this.open === undefined) return;
    const { name, release } = this.kind;
    // One chain, so that a lazy thenable is started once, and a failing free is heard as well.
    throw refuseAsync(name, "", "open", Promise.resolve(value as PromiseLike<T>).then(release));
  }

  stats(): ResourceStats {
    const { opened, freed, peak, bytes } = this.kind;
    return { live: opened - freed, opened, freed, peak, bytes };
  }

  labelOf(value: T, args: A): string {
    try {
      const label = this.#label;
      return label === undefined ? "" : String(label(value, ...args));
    } catch (error) {
      return `(no label: ${reasonOf(error, "the label function threw")})`;
    }
  }

  bytesOf(value: T, args: A): number {
    const bytes = this.#bytes;
    if (typeof bytes !== "function") return bytes ?? 0;
    try {
      const size = bytes(value, ...args);
      return Number.isFinite(size) && size > 0 ? size : 0;
    } catch {
      return 0;
    }
  }
}

/** A resource that can be opened straight into a context's list: no store and no question more than without one. */
export interface OpensInto<T, A extends readonly unknown[]> {
  /** `undefined`, and nothing opened, if this one cannot be. */
  [OPEN_INTO](list: OwnedList, context: ContextRecord | undefined, ...args: A): Handle<T> | undefined;
}

class ResourceImpl<T, A extends readonly unknown[]> implements Resource<T, A>, OpensInto<T, A> {
  readonly kind: string;
  readonly #family: Family<T, A>;
  readonly #open: (...args: A) => T;
  readonly #flat: Flat<T> | undefined;

  constructor(definition: ResourceDefinition<T, A>) {
    const family = new Family(definition, Kind);
    this.#family = family;
    this.#open = definition.open ?? (identity as unknown as (...args: A) => T);
    this.#flat = family.plain ? Flat.of(family.kind) : undefined;
    this.kind = family.kind.name;
  }

  get [FAMILY](): Family<T, A> {
    return this.#family;
  }

  get stats(): ResourceStats {
    return this.#family.stats();
  }

  open(...args: A): Handle<T> {
    const open = this.#open;
    const value = open(...args);
    if (typeof value === "object" || typeof value === "function") this.#family.checkArrived(value);
    return this.#flat === undefined ? this.#family.account(value, args) : openPlain(this.#flat, value);
  }

  // `open` written out again: handing the arguments on as a list costs more than the rest. Whoever overrides it is called there.
  [OPEN_INTO](list: OwnedList, context: ContextRecord | undefined, ...args: A): Handle<T> | undefined {
    const flat = this.#flat;
    if (flat === undefined || this.open !== OWN_OPEN) return undefined;
    const open = this.#open;
    const value = open(...args);
    if (typeof value === "object" || typeof value === "function") this.#family.checkArrived(value);
    if (realm.tracker !== undefined) {
      const handle = openPlain(flat, value);
      HandleImpl.own(handle, list, context);
      return handle;
    }
    flat.kind.countOpened();
    const handle = new HandleImpl<T>(list.flatOf(flat), value);
    list.add(handle);
    return handle;
  }

  wrap(value: T, options?: WrapOptions): Handle<T> {
    return this.#family.wrap(value, options);
  }

  revoke(handle: Handle<T>): void {
    HandleImpl.revoke(handle, this.#family.kind);
  }
}

const OWN_OPEN = ResourceImpl.prototype.open;

/**
 * Defines a kind of resource: how it is opened, freed and named.
 *
 * @throws {TypeError} If the definition has a member of the wrong type.
 * @example A file descriptor
 * ```ts
 * import { closeSync, openSync } from "node:fs";
 *
 * const File = defineResource({
 *   kind: "file",
 *   open: (path: string) => openSync(path, "r"),
 *   free: closeSync,
 *   label: (fd, path) => `${path} (fd ${fd})`,
 * });
 * using file = File.open("package.json");
 * console.log(file.value > 2, File.stats.live); // true 1
 * ```
 */
export function defineResource<T>(
  definition: ResourceDefinition<T, [value: T]> & { readonly open?: undefined },
): Resource<T, [value: T]>;
export function defineResource<T, A extends readonly unknown[] = [value: T]>(
  definition: ResourceDefinition<T, A>,
): Resource<T, A>;
export function defineResource<T, A extends readonly unknown[]>(
  given: ResourceDefinition<T, A> | ResourceDefinition<T, [value: T]>,
): Resource<T, A> | Resource<T, [value: T]> {
  return new ResourceImpl(given as ResourceDefinition<T, A>);
}

/**
 * Defines a kind of resource whose free, open or both are asynchronous.
 *
 * @throws {TypeError} If the definition has a member of the wrong type.
 * @example A file handle
 * ```ts
 * import { open } from "node:fs/promises";
 *
 * const File = defineAsyncResource({
 *   kind: "file",
 *   open: (path: string) => open(path),
 *   free: (file) => file.close(),
 *   label: (_, path) => path ?? "unnamed",
 * });
 * await using file = await File.open("package.json");
 * console.log((await file.value.stat()).isFile()); // true
 * ```
 */
export function defineAsyncResource<T>(
  definition: AsyncResourceDefinition<T, [value: T]> & { readonly open?: undefined },
): AsyncResource<T, [value: T]>;
export function defineAsyncResource<T, A extends readonly unknown[] = [value: T]>(
  definition: AsyncResourceDefinition<T, A>,
): AsyncResource<T, A>;
export function defineAsyncResource<T, A extends readonly unknown[]>(
  given: AsyncResourceDefinition<T, A> | AsyncResourceDefinition<T, [value: T]>,
): AsyncResource<T, A> | AsyncResource<T, [value: T]> {
  const definition = given as AsyncResourceDefinition<T, A>;
  const family = new Family(definition, AsyncKind);
  const open = definition.open ?? (identity as unknown as (...args: A) => T);
  const resource: AsyncResource<T, A> = {
    kind: family.kind.name,
    get stats() {
      return family.stats();
    },
    async open(...args: A): Promise<AsyncHandle<T>> {
      return new AsyncHandleImpl(family.account(await open(...args), args));
    },
    wrap: (value, options) => new AsyncHandleImpl(family.wrap(value, options)),
    revoke(handle) {
      const counted: Counted<T> = HandleImpl.revoke(AsyncHandleImpl.account(handle) ?? handle, family.kind);
      // A promise of its own, so that a failure is reported as unhandled if nobody hears it.
      return Promise.resolve(counted.freeing).then(ignore);
    },
  };
  return Object.defineProperty(resource, FAMILY, { value: family });
}

/** What cannot be asked is none: the question must not cost a value its owner. */
export function isPromise<T>(value: T): value is T & PromiseLike<T> {
  try {
    return isThenable(value);
  } catch {
    return false;
  }
}

const identity = <T>(value: T): T => value;
