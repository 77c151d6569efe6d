import { received, unfit } from "../errors";
import { canonicalHost, isLoopback } from "./host-name";

interface Query extends Iterable<[name: string, value: string]> {
  get(name: string): string | null;
}
declare const URLSearchParams: { new (query: string): Query };

/** Where a connection leads, in parts. */
export interface EndpointParts {
  /** A name or an address; IPv6 with or without brackets. */
  readonly host?: string | undefined;
  readonly port?: number | string | undefined;
  readonly tls?: boolean | undefined;
  /** The name that the server's certificate is checked against, where it is not the host. */
  readonly servername?: string | undefined;
  readonly user?: string | undefined;
  /** Never part of the identity, a label or an error. */
  readonly password?: string | undefined;
  /** The database or namespace on the server. */
  readonly db?: number | string | undefined;
  /** A Unix socket, instead of host and port. */
  readonly path?: string | undefined;
}

/**
 * An endpoint as users write it: `"Example.COM.:6379"`, `"rediss://user:secret@[::1]:6380/2"`, `"unix:/run/db.sock"`, or its parts.
 *
 * Encrypted are `tls`, `ssl`, whatever ends in `+tls` or `+ssl`, and `amqps`, `ftps`, `grpcs`, `https`, `imaps`, `ldaps`,
 * `mqtts`, `mysqls`, `pop3s`, `rediss`, `sips`, `smtps`, `valkeys` and `wss`. Another scheme is plain, unless it looks as if
 * it were not: one that ends in an "s" (but `nats`, `postgres`, `redis` and `ws`) or in `+srv` is refused. In an account a
 * `/`, a `?` and a `#` are escaped (`p%3Fss`), and an `@` in what follows the host.
 *
 * A query is read for `user`, `password`, `db` and `servername`. Of what else it says, that of a plain endpoint which may mean
 * TLS (`sslmode=require`) is refused, and so is another `host` or `port`.
 */
export type Endpoint = string | EndpointParts;

export interface EndpointOptions {
  /** The port of an endpoint that names none. Without it such an endpoint is refused. */
  readonly defaultPort?: number;
  /** What the names and addresses of this machine (`localhost`, `127.0.0.0/8`, also as `::ffff:127.0.0.1`, and `::1`) all become: only you know that your servers listen on all of them. */
  readonly loopback?: string;
}

/** Schemes whose connections are encrypted: most are the plain name with an "s". */
const ENCRYPTED =
  /^(?:amqps|ftps|grpcs|https|imaps|ldaps|mqtts|mysqls|pop3s|rediss|sips|smtps|ssl|tls|valkeys|wss|.+\+(?:tls|ssl))$/;
/** Schemes that may be encrypted or not: whoever guesses would send a password in the clear, or speak TLS to who does not. */
const DOUBTFUL = /(?:s|\+srv)$/;
/** The same of the names in a query, and the values of these that say no. */
const DOUBTFUL_NAME = /ssl|tls|^encrypt|^secure$/i;
const NO = /^(?:0|disabled?|false|no|none|off)$/i;
const DEFAULT_PORTS: Readonly<Record<string, number>> = {
  redis: 6379,
  rediss: 6379,
  valkey: 6379,
  valkeys: 6379,
  postgres: 5432,
  postgresql: 5432,
  mysql: 3306,
  mysqls: 3306,
  http: 80,
  https: 443,
  ws: 80,
  wss: 443,
  nats: 4222,
};

/**
 * The one spelling of where a connection leads: two endpoints with the same are the same connection.
 *
 * Trims, takes brackets off and puts them where they belong, lower-cases, strips one trailing dot, turns international
 * names to ASCII, short IPv4 forms (`127.1`, `2130706433`) to dotted quads and IPv6 to RFC 5952, and writes the port out.
 * TLS, servername, user, database and Unix path are part of it; the password is not, and never appears in a label or an
 * error. Nothing is resolved: `localhost` and `127.0.0.1` are two endpoints unless `loopback` says otherwise, and
 * `::ffff:127.0.0.1` is neither.
 *
 * @returns `example.com:6379`, `tls://app@[::1]:6380/2?servername=db.example`, `unix:/run/db.sock?db=2`.
 * @throws {TypeError} If it is no endpoint; the message does not repeat it, for what it may contain.
 * @example Spellings of one server
 * ```ts
 * console.log(canonicalEndpoint(" Example.COM.:6379 ")); // example.com:6379
 * console.log(canonicalEndpoint({ host: "EXAMPLE.com" }, { defaultPort: 6379 })); // example.com:6379
 * console.log(canonicalEndpoint("rediss://app:secret@[0:0::1]:6380/2")); // tls://app@[::1]:6380/2
 * ```
 */
export function canonicalEndpoint(endpoint: Endpoint, options: EndpointOptions = {}): string {
  const { tls, user, db, host, port, path, servername } = readEndpoint(endpoint, options);
  const scheme = tls ? "tls://" : "";
  if (path !== undefined) {
    const asked = [];
    if (user !== undefined) asked.push(`user=${encodeURIComponent(user)}`);
    if (db !== undefined) asked.push(`db=${encodeURIComponent(db)}`);
    if (servername !== undefined) asked.push(queryOf(servername));
    const escaped = encodeURI(path).replace(/[?#]/g, encodeURIComponent);
    return `${scheme}unix:${escaped}${asked.length === 0 ? "" : `?${asked.join("&")}`}`;
  }
  const account = user === undefined ? "" : `${encodeURIComponent(user)}@`;
  const database = db === undefined ? "" : `/${encodeURIComponent(db)}`;
  const name = servername === undefined ? "" : `?${queryOf(servername)}`;
  // As a URL writes a zone: without the escape one that begins with "25" would be read as another.
  const address = tls ? host?.replace("%", "%25") : host;
  return `${scheme}${account}${host?.includes(":") ? `[${address}]` : host}:${port}${database}${name}`;
}

/** Only what a query would read otherwise is escaped: brackets and colons of an address stay as they are. */
function queryOf(servername: string): string {
  return `servername=${servername.replace(/[%&+]/g, encodeURIComponent)}`;
}

/** An endpoint, read: each part in its one spelling. It has a host and a port, or a path. */
export interface EndpointRead {
  /** IPv6 without brackets, as sockets take it. */
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly tls: boolean;
  readonly servername: string | undefined;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly db: string | undefined;
  readonly path: string | undefined;
}

/** The parts of an endpoint in their one spelling, the password included: for opening it, not for printing. */
export function readEndpoint(endpoint: Endpoint, options: EndpointOptions = {}): EndpointRead {
  const parts = parseEndpoint(endpoint);
  const { tls = false, password } = parts;
  if (typeof tls !== "boolean") throw unlike("tls", "a boolean", tls);
  if (password !== undefined && typeof password !== "string") throw unlike("password", "a string", password);
  const user = parts.user === undefined || parts.user === "" ? undefined : checkText("user", parts.user);
  const asked = canonicalDb(parts.db);
  // Database 0 is what a connection without one gets, on the servers that number them.
  const db = /^0*$/.test(asked) ? undefined : asked;
  if (parts.path !== undefined) {
    const path = checkText("path", parts.path).replace(/\/{2,}/g, "/");
    if (path === "") throw refuse("its path is empty");
    const servername = canonicalName(tls, parts.servername);
    return { host: undefined, port: undefined, tls, servername, user, password, db, path };
  }
  const named = canonicalHost(checkText("host", parts.host));
  if (named === undefined) throw refuse("its host is neither a name nor an address");
  const { loopback, defaultPort } = options;
  const host = loopback !== undefined && isLoopback(named) ? canonicalLoopback(loopback) : named;
  const port = canonicalPort(parts.port, defaultPort);
  const servername = canonicalName(tls, parts.servername, host);
  return { host: host.replace(/^\[|\]$/g, ""), port, tls, servername, user, password, db, path: undefined };
}

/** The parts of an endpoint as they were written. */
function parseEndpoint(endpoint: Endpoint): EndpointParts {
  if (typeof endpoint === "object" && endpoint !== null) {
    // A URL has a `host` as well, with the port in it, and no `tls`.
    if (typeof (endpoint as { href?: unknown }).href === "string") throw refuse("it is a URL object, give its href");
    return endpoint;
  }
  if (typeof endpoint !== "string") throw refuse(`expected a string or its parts, received ${received(endpoint)}`);
  const text = endpoint.trim();
  if (text.startsWith("/")) return { path: text };
  const unix = /^(tls:\/\/)?unix:(?:\/\/([^/?]*)@(?=\/))?([^?]*)(?:\?(.*))?$/is.exec(text);
  if (unix) {
    const [, scheme, given = "", path = "", query = ""] = unix;
    if (/^\/\/[^/]*:/.test(path)) throw refuse("its account is not escaped, or not followed by a path");
    const [user, password] = split(given);
    const tls = scheme !== undefined;
    const asked = ask(query, tls);
    return {
      path: decode(path),
      tls,
      servername: asked("servername"),
      user: asked("user") ?? user,
      password: asked("password") ?? password,
      db: asked("db"),
    };
  }
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text);
  const name = scheme?.[1]?.toLowerCase();
  const [, authority = "", rest = ""] = /^([^/?#]*)(.*)$/s.exec(scheme ? text.slice(scheme[0].length) : text) ?? [];
  // A password with a "/" in it would end up in the key, as the database, and what is before a "?" as the host.
  if (rest.includes("@")) throw refuse('a "/", a "?", a "#" or an "@" in it is not escaped');
  if (name !== undefined && !(name in DEFAULT_PORTS) && !ENCRYPTED.test(name) && DOUBTFUL.test(name)) {
    throw refuse("its scheme is not known, and may mean TLS: give its parts, with tls");
  }
  // The last @ ends the account: a password may contain others.
  const at = authority.lastIndexOf("@");
  const account = at < 0 ? [] : split(authority.slice(0, at));
  const { host, port } = splitHost(authority.slice(at + 1));
  // A query may have a "?" in it.
  const [, path = "", query = ""] = /^([^?#]*)(?:\?([^#]*))?/.exec(rest) ?? [];
  const tls = name !== undefined && ENCRYPTED.test(name);
  const asked = ask(query, tls);
  // "h:1/2/" is "h:1/2". By hand: an expression for it would try anew at every slash.
  let end = path.length;
  while (path[end - 1] === "/") end--;
  return {
    // A URL escapes what begins a zone (RFC 6874), or does not.
    host: scheme ? host.replace(/^(\[[^%]*%)25(?=[^\]])/, "$1") : host,
    port: port ?? (name === undefined ? undefined : DEFAULT_PORTS[name]),
    tls,
    servername: asked("servername"),
    user: asked("user") ?? account[0],
    password: asked("password") ?? account[1],
    db: asked("db") ?? decode(path.slice(1, end)),
  };
}

/** What a query says by name. Whoever passed over the rest of these would speak plain to a server, or to another one. */
function ask(query: string, tls: boolean): (name: string) => string | undefined {
  const asked = new URLSearchParams(query);
  for (const [name, value] of asked) {
    if (name === "host" || name === "port") throw refuse("its query names another host or port");
    if (!tls && DOUBTFUL_NAME.test(name) && !NO.test(value)) {
      throw refuse("its query may mean TLS, and its scheme does not: give its parts, with tls");
    }
  }
  return (name) => asked.get(name) ?? undefined;
}

function split(account: string): (string | undefined)[] {
  const colon = account.indexOf(":");
  return colon < 0 ? [decode(account)] : [decode(account.slice(0, colon)), decode(account.slice(colon + 1))];
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** `[::1]:1`, `::1`, `host:1`, `host`. An address with several colons and no brackets has no port. */
function splitHost(text: string): { host: string; port: string | undefined } {
  const bracketed = /^(\[[^\]]*\])(?::(\d*))?$/.exec(text);
  if (bracketed) return { host: bracketed[1] as string, port: bracketed[2] || undefined };
  const parts = text.split(":");
  if (parts.length !== 2) return { host: text, port: undefined };
  return { host: parts[0] as string, port: parts[1] || undefined };
}

/** @throws {TypeError} If an option is none. */
export function checkReading({ loopback, defaultPort }: EndpointOptions): void {
  if (loopback !== undefined) canonicalLoopback(loopback);
  if (defaultPort !== undefined) canonicalPort(undefined, defaultPort);
}

function canonicalLoopback(loopback: unknown): string {
  const host = typeof loopback === "string" ? canonicalHost(loopback) : undefined;
  if (host === undefined) throw unfit("read an endpoint", "loopback to be a name or an address", loopback);
  return host;
}

/** `undefined` for the host's own name, which is what a certificate is checked against anyway. */
function canonicalName(tls: boolean, servername: unknown, host?: string): string | undefined {
  const asked = servername === undefined ? "" : checkText("servername", servername);
  if (!tls || asked === "") return undefined;
  const name = canonicalHost(asked);
  if (name === undefined) throw refuse("its servername is neither a name nor an address");
  return name === host ? undefined : name;
}

function canonicalDb(db: unknown): string {
  if (db === undefined) return "";
  if (typeof db === "number" && Number.isInteger(db) && db >= 0) return String(db);
  if (typeof db === "number") throw refuse("its db is a number, and not a natural one");
  if (typeof db !== "string") throw unlike("db", "a string or a number", db);
  return checkText("db", db);
}

function canonicalPort(port: number | string | undefined, defaultPort: number | undefined): number {
  const given = port === "" ? undefined : port;
  const asked = given ?? defaultPort;
  if (asked === undefined) throw refuse("it has no port, and there is no default port");
  const number = typeof asked === "number" ? asked : /^\s*\d+\s*$/.test(asked) ? Number(asked) : Number.NaN;
  if (Number.isInteger(number) && number >= 1 && number <= 65535) return number;
  if (given !== undefined) throw refuse("its port is not from 1 to 65535");
  throw unfit("read an endpoint", "defaultPort to be from 1 to 65535", defaultPort);
}

function checkText(name: string, value: unknown): string {
  if (typeof value !== "string") throw unlike(name, "a string", value);
  // Control characters would let one endpoint look like another; half a surrogate pair cannot be escaped.
  if (/[\p{Cc}\p{Cs}]/u.test(name === "host" ? value.trim() : value)) {
    throw refuse(`its ${name} has a character that nothing can show`);
  }
  return value;
}

/** Says what was received, and not which. */
function unlike(name: string, wanted: string, value: unknown): TypeError {
  return refuse(`expected its ${name} to be ${wanted}, received ${value === null ? "null" : typeof value}`);
}

function refuse(why: string): TypeError {
  return new TypeError(`Cannot read the endpoint: ${why}`);
}
