declare const URL: { new (url: string): { hostname: string } };

/**
 * A host as every spelling of it is written: names in lower-case ASCII, IPv4 as a dotted quad, IPv6 after RFC 5952 in
 * brackets. `undefined` if it is neither a name nor an address.
 *
 * The WHATWG URL parser, which every host has, knows all of these rules; its own for IPv6 differ from RFC 5952 in nothing
 * but IPv4-mapped addresses, which are written in dots. Names it does not look up.
 */
export function canonicalHost(text: string): string | undefined {
  const host = text.trim();
  if (host === "" || /[/?#@\\\s]/.test(host)) return undefined;
  const bare = host.replace(/^\[(.*)\]$/, "$1");
  const isV6 = bare.includes(":");
  if (bare !== host && !isV6) return undefined;
  if (isV6) return canonicalV6(bare);
  // Not before it is read: other dots ("。") and escaped ones are dots by then.
  const name = parse(host)?.replace(/\.$/, "");
  return name === "" || name?.endsWith(".") ? undefined : name;
}

function canonicalV6(bare: string): string | undefined {
  // A zone (fe80::1%eth0) is an interface of this machine, and names keep their case.
  const [address = "", zone, more] = bare.split("%");
  const host = parse(`[${address}]`);
  if (host === undefined || zone === "" || /[[\]]/.test(zone ?? "") || more !== undefined) return undefined;
  const mapped = /^\[::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})\]$/.exec(host);
  let canonical = host;
  if (mapped) {
    const [high, low] = [Number.parseInt(mapped[1] as string, 16), Number.parseInt(mapped[2] as string, 16)];
    canonical = `[::ffff:${high >> 8}.${high & 255}.${low >> 8}.${low & 255}]`;
  }
  return zone === undefined ? canonical : `${canonical.slice(0, -1)}%${zone}]`;
}

function parse(host: string): string | undefined {
  try {
    // A special scheme: only those are read as names and addresses.
    return new URL(`http://${host}/`).hostname;
  } catch {
    return undefined;
  }
}

/** Whether a host in its one spelling is this machine. */
export function isLoopback(host: string): boolean {
  return /^(?:localhost|(?:.+\.)localhost|127(?:\.\d+){3}|\[::1\]|\[::ffff:127(?:\.\d+){3}\])$/.test(host);
}
