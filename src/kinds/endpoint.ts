import { received } from "../errors";
import { canonicalHost } from "./host-name";

declare const URLSearchParams: { new (query: string): { get(name: string): string | null } };

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

/** An endpoint as users write it: `"Example.COM.:6379"`, `"rediss://user:secret@[::1]:6380/2"`, `"unix:/run/db.sock"`, or its parts. */
export type Endpoint = string | EndpointParts;

export interface EndpointOptions {
  /** The port of an endpoint that names none. Without it such an endpoint is refused. */
  readonly defaultPort?: number;
  /** What the names and addresses of this machine (`localhost`, `127.0.0.0/8`, also as `::ffff:127.0.0.1`, and `::1`) all become: only you know that your servers listen on all of them. */
  readonly loopback?: string;
}

/** Schemes whose connections are encrypted: the plain name with an "s". */
const ENCRYPTED = /^(?:rediss|valkeys|https|wss|mysqls|tls|amqps|mqtts|ldaps)$/;
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
    const escaped = encodeURI(path).replace(/[?#]/g, encodeURIComponent);
    return `${scheme}unix:${escaped}${asked.length === 0 ? "" : `?${asked.join("&")}`}`;
  }
  const account = user === undefined ? "" : `${encodeURIComponent(user)}@`;
  const database = db === undefined ? "" : `/${encodeURIComponent(db)}`;
  const name = servername === undefined ? "" : `?servername=${servername}`;
  return `${scheme}${account}${host?.includes(":") ? `[${host}]` : host}:${port}${database}${name}`;
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
  const user = parts.user === undefined || parts.user === "" ? undefined : checkText("user", parts.user);
  const asked = parts.db === undefined ? "" : checkText("db", String(parts.db));
  // Database 0 is what a connection without one gets, on the servers that number them.
  const db = /^0*$/.test(asked) ? undefined : asked;
  if (parts.path !== undefined) {
    const path = checkText("path", parts.path).replace(/\/{2,}/g, "/");
    if (path === "") throw refuse("its path is empty");
    return { host: undefined, port: undefined, tls, servername: undefined, user, password, db, path };
  }
  const host = canonicalHost(checkText("host", parts.host), options.loopback);
  if (host === undefined) throw refuse("its host is neither a name nor an address");
  const port = canonicalPort(parts.port ?? options.defaultPort);
  const asName = parts.servername === undefined ? "" : checkText("servername", parts.servername);
  const name = tls && asName !== "" ? canonicalHost(asName) : host;
  if (name === undefined) throw refuse("its servername is neither a name nor an address");
  // The host's own name is what a certificate is checked against anyway.
  const servername = name === host ? undefined : name;
  return { host: host.replace(/^\[|\]$/g, ""), port, tls, servername, user, password, db, path: undefined };
}

/** The parts of an endpoint as they were written. */
function parseEndpoint(endpoint: Endpoint): EndpointParts {
  if (typeof endpoint === "object" && endpoint !== null) return endpoint;
  if (typeof endpoint !== "string") throw refuse(`expected a string or its parts, received ${received(endpoint)}`);
  const text = endpoint.trim();
  if (text.startsWith("/")) return { path: text };
  const unix = /^(tls:\/\/)?unix:(?:\/\/([^/?]*)@(?=\/))?([^?]*)(?:\?(.*))?$/is.exec(text);
  if (unix) {
    const [, scheme, given = "", path = "", query = ""] = unix;
    if (/^\/\/[^/]*:/.test(path)) throw refuse("its account is not escaped, or not followed by a path");
    const [user, password] = split(given);
    const asked = new URLSearchParams(query);
    const of = (name: string): string | undefined => asked.get(name) ?? undefined;
    return {
      path: decode(path),
      tls: scheme !== undefined,
      user: of("user") ?? user,
      password: of("password") ?? password,
      db: of("db"),
    };
  }
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text);
  const name = scheme?.[1]?.toLowerCase();
  const [, authority = "", rest = ""] = /^([^/?#]*)(.*)$/s.exec(scheme ? text.slice(scheme[0].length) : text) ?? [];
  // A password with a "/" in it would end up in the key, as the database.
  if (/^[^?]*@/.test(rest)) throw refuse('a "/" or an "@" in it is not escaped');
  // The last @ ends the account: a password may contain others.
  const at = authority.lastIndexOf("@");
  const account = at < 0 ? [] : split(authority.slice(0, at));
  const { host, port } = splitHost(authority.slice(at + 1));
  const [path = "", query = ""] = rest.split("#")[0]?.split("?") ?? [];
  const asked = new URLSearchParams(query);
  return {
    // A URL may escape what begins a zone.
    host: scheme ? host.replace(/^(\[[^%]*%)25(?=[a-z])/i, "$1") : host,
    port: port ?? (name === undefined ? undefined : DEFAULT_PORTS[name]),
    tls: name !== undefined && ENCRYPTED.test(name),
    servername: asked.get("servername") ?? undefined,
    user: account[0],
    password: account[1],
    db: asked.get("db") ?? decode(path.slice(1)),
  };
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

function canonicalPort(port: number | string | undefined): number {
  if (port === undefined || port === "") throw refuse("it has no port, and there is no default port");
  const number = typeof port === "number" ? port : /^\s*\d+\s*$/.test(port) ? Number(port) : Number.NaN;
  if (!Number.isInteger(number) || number < 1 || number > 65535) throw refuse("its port is not from 1 to 65535");
  return number;
}

function checkText(name: string, value: unknown): string {
  if (typeof value !== "string") throw refuse(`expected its ${name} to be a string, received ${typeof value}`);
  // Control characters would let one endpoint look like another; half a surrogate pair cannot be escaped.
  if (/[\p{Cc}\p{Cs}]/u.test(name === "host" ? value.trim() : value)) {
    throw refuse(`its ${name} has a character that nothing can show`);
  }
  return value;
}

function refuse(why: string): TypeError {
  return new TypeError(`Cannot read the endpoint: ${why}`);
}
