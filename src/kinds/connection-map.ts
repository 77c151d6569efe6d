import { checkObject, unfit } from "../errors";
import { HandleMap } from "../handle-map";
import type { HandleMapOptions, OpenContext } from "../map-options";
import {
  canonicalEndpoint,
  checkReading,
  type Endpoint,
  type EndpointOptions,
  type EndpointRead,
  readEndpoint,
} from "./endpoint";

/** What the open of a {@link ConnectionMap} is given beside the key. */
export interface ConnectContext<V> extends OpenContext<Endpoint, V> {
  /** Where to connect to, in parts, with the password of the acquire that began this open. */
  readonly endpoint: EndpointRead;
}

/**
 * What a {@link ConnectionMap} is made of: see {@link HandleMapOptions}; the keys are endpoints. Its functions may be the
 * methods of a class of yours: they are called on the object that you give.
 */
export interface ConnectionMapOptions<T, V = T>
  extends EndpointOptions,
    Omit<HandleMapOptions<Endpoint, T>, "open" | "canonical" | "kind"> {
  /** Connects to an endpoint, given by its canonical spelling and in parts. */
  readonly open: (key: string, context: ConnectContext<V>) => T | PromiseLike<T>;
}

/**
 * A {@link HandleMap} of kind "connection", keyed by endpoint: one shared connection for all spellings of where it leads.
 *
 * @example Two spellings, one connection
 * ```ts
 * import { connect, createServer } from "node:net";
 *
 * const server = createServer((socket) => socket.resume()).listen(0, "127.0.0.1");
 * await new Promise((resolve) => server.once("listening", resolve));
 * const { port } = server.address() as { port: number };
 *
 * await using links = new ConnectionMap({
 *   open: (_, { endpoint }) => connect(endpoint.port ?? 0, endpoint.host),
 *   free: (socket) => void socket.destroy(),
 * });
 * await using a = await links.acquire(`127.0.0.1:${port}`);
 * await using b = await links.acquire({ host: "127.1", port });
 * console.log(a.value === b.value, links.size); // true 1
 * server.close();
 * ```
 */
export interface ConnectionMap<T> extends HandleMap<Endpoint, T> {}

/** The class of {@link ConnectionMap}. */
export interface ConnectionMapConstructor {
  /** @throws {TypeError | RangeError} If an option is of the wrong type or out of range. */
  new <T, V = T>(options: ConnectionMapOptions<T, V>): ConnectionMap<T>;
  readonly prototype: ConnectionMap<unknown>;
}

export const ConnectionMap: ConnectionMapConstructor = class<T, V = T> extends HandleMap<Endpoint, T, V> {
  constructor(options: ConnectionMapOptions<T, V>) {
    checkObject("make a ConnectionMap", options);
    const { open, defaultPort, loopback } = options;
    if (typeof open !== "function") {
      throw unfit("make a ConnectionMap", "open to be a function", open);
    }
    const reading: EndpointOptions = {
      ...(defaultPort === undefined ? {} : { defaultPort }),
      ...(loopback === undefined ? {} : { loopback }),
    };
    checkReading(reading);
    super({
      ...sharedOf<T>(options),
      kind: options.resource?.kind ?? "connection",
      canonical: (endpoint) => canonicalEndpoint(endpoint, reading),
      open: (key, context) => {
        const endpoint = readEndpoint(context.given, reading);
        return options.open(key as string, Object.assign(context, { endpoint }));
      },
    });
  }
};

/** What it shares with every keyed map. */
type Shared<T> = Omit<ConnectionMapOptions<T>, "open" | keyof EndpointOptions>;

/** Each of them by its name: what is inherited, as the methods of a class are, no spread would find. */
const SHARED: Readonly<Record<keyof Shared<unknown>, true>> = {
  free: true,
  resource: true,
  label: true,
  idle: true,
  maxAge: true,
  lost: true,
  max: true,
  whenFull: true,
  validate: true,
  onError: true,
};

/** What a keyed map takes of the options, its functions called on them. */
function sharedOf<T>(options: Shared<T>): Shared<T> {
  const shared: Record<string, unknown> = {};
  for (const name of Object.keys(SHARED) as (keyof Shared<T>)[]) {
    const given: unknown = options[name];
    shared[name] = typeof given === "function" ? given.bind(options) : given;
  }
  return shared;
}
