import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalEndpoint, type Endpoint, readEndpoint } from "../../src/kinds/endpoint";

describe("canonicalEndpoint()", () => {
  it.each([
    [" Example.COM.:6379 ", "example.com:6379"],
    ["localhost.:1", "localhost:1"],
    ["Example。com。:1", "example.com:1"],
    ["redis://example.com%2E:1", "example.com:1"],
    ["127.0.0.1.:1", "127.0.0.1:1"],
    ["[::1]:1", "[::1]:1"],
    ["[0:0:0:0:0:0:0:1]:1", "[::1]:1"],
    ["[2001:DB8:0:0:1:0:0:1]:1", "[2001:db8::1:0:0:1]:1"],
    ["[::FFFF:127.0.0.1]:1", "[::ffff:127.0.0.1]:1"],
    ["[fe80::1%eth0]:1", "[fe80::1%eth0]:1"],
    ["redis://[fe80::1%25eth0]:1", "[fe80::1%eth0]:1"],
    ["redis://[fe80::1%253]:1", "[fe80::1%3]:1"],
    ["redis://[fe80::1%3]:1", "[fe80::1%3]:1"],
    ["tls://[fe80::1%3]:1", "tls://[fe80::1%253]:1"],
    ["[fe80::1%253]:1", "[fe80::1%253]:1"],
    ["[fe80::1%25]:1", "[fe80::1%25]:1"],
    ["tls://a:1?servername=", "tls://a:1"],
    ["tls://unix:/run/a.sock?servername=DB.example", "tls://unix:/run/a.sock?servername=db.example"],
    ["postgres://a/orders?user=app&password=pw", "app@a:5432/orders"],
    ["postgres://a/orders?sslmode=disable&application_name=x", "a:5432/orders"],
    ["rediss://a?ssl_cert_reqs=none", "tls://a:6379"],
    ["redis://a?name=what?&db=2#?db=3", "a:6379/2"],
    ["127.1:1", "127.0.0.1:1"],
    ["2130706433:1", "127.0.0.1:1"],
    ["0x7f.0.0.1:1", "127.0.0.1:1"],
    ["bücher.example:1", "xn--bcher-kva.example:1"],
    ["BÜCHER.example:1", "xn--bcher-kva.example:1"],
    ["redis://EXAMPLE.com", "example.com:6379"],
    ["redis://example.com/0", "example.com:6379"],
    ["redis://app:p%40ss@example.com/2", "app@example.com:6379/2"],
    ["redis://app:a@b@example.com", "app@example.com:6379"],
    ["rediss://example.com", "tls://example.com:6379"],
    ["tls://example.com:1?servername=DB.example", "tls://example.com:1?servername=db.example"],
    ["tls://example.com:1?servername=Example.com.", "tls://example.com:1"],
    ["postgres://app@db.example/orders", "app@db.example:5432/orders"],
    ["redis+tls://a:1", "tls://a:1"],
    ["redis+ssl://a:1", "tls://a:1"],
    ["ssl://a:1", "tls://a:1"],
    ["SMTPS://a:1", "tls://a:1"],
    ["imaps://a:1", "tls://a:1"],
    ["smtp://a:1", "a:1"],
    ["nats://a", "a:4222"],
    ["redis://a/2/", "a:6379/2"],
    ["a:1/", "a:1"],
    ["a:1/2//", "a:1/2"],
    ["a:1/2%2F", "a:1/2%2F"],
    ["redis://app:p%3Fss%23@a", "app@a:6379"],
    ["unix:/run//redis.sock", "unix:/run/redis.sock"],
    ["unix:///run/redis.sock?db=2", "unix:/run/redis.sock?db=2"],
    ["/run/redis.sock", "unix:/run/redis.sock"],
  ])("writes %j as %j", (given, canonical) => {
    expect(canonicalEndpoint(given)).toBe(canonical);
  });

  it.each<[Endpoint, string]>([
    [{ host: "::1", port: 1 }, "[::1]:1"],
    [{ host: "[::1]", port: "1" }, "[::1]:1"],
    [{ host: "EXAMPLE.com." }, "example.com:6379"],
    ["::1", "[::1]:6379"],
    ["example.com", "example.com:6379"],
    [{ host: "a", port: "" }, "a:6379"],
    [{ host: "a", db: 0 }, "a:6379"],
    [{ host: "a", tls: true, servername: "a+b&c" }, "tls://a:6379?servername=a%2Bb%26c"],
    [{ host: "a", tls: true, servername: "fe80::1%25" }, "tls://a:6379?servername=[fe80::1%2525]"],
    [{ host: "a", db: "2", user: "me:you" }, "me%3Ayou@a:6379/2"],
    [{ host: "a", tls: true, servername: "B" }, "tls://a:6379?servername=b"],
    [{ path: "/a", tls: true, servername: "B+c", db: 2 }, "tls://unix:/a?db=2&servername=b%2Bc"],
    [{ path: "/a", servername: "b" }, "unix:/a"],
    [{ path: "/run/a b?.sock", user: "app", tls: true }, "tls://unix:/run/a%20b%3F.sock?user=app"],
  ])("writes %j as %j with a default port", (given, canonical) => {
    expect(canonicalEndpoint(given, { defaultPort: 6379 })).toBe(canonical);
  });

  it("tells apart what leads elsewhere", () => {
    const all: Endpoint[] = [
      { host: "a", port: 1 },
      { host: "a", port: 2 },
      { host: "a", port: 1, tls: true },
      { host: "a", port: 1, tls: true, servername: "b" },
      { host: "a", port: 1, user: "u" },
      { host: "a", port: 1, db: 1 },
      { path: "/a" },
      { path: "/A" },
      { path: "/a", tls: true },
      { path: "/a", tls: true, servername: "b" },
      "localhost:1",
      "127.0.0.1:1",
      "[::1]:1",
      "[::ffff:127.0.0.1]:1",
    ];
    expect(new Set(all.map((endpoint) => canonicalEndpoint(endpoint))).size).toBe(all.length);
  });

  it("makes one of all names of this machine only when told to", () => {
    const names = [
      "localhost:1",
      "LOCALHOST.:1",
      "127.0.0.1:1",
      "127.1:1",
      "127.3.2.1:1",
      "[::1]:1",
      "[::ffff:7f00:1]:1",
      "db.localhost:1",
    ];
    const loopback = "127.0.0.1";
    expect(new Set(names.map((name) => canonicalEndpoint(name, { loopback })))).toEqual(new Set(["127.0.0.1:1"]));
    expect(canonicalEndpoint("localhost.example:1", { loopback })).toBe("localhost.example:1");
  });

  it("never shows a password, neither in the key nor in an error", () => {
    const secret = "hunter2";
    expect(canonicalEndpoint(`redis://app:${secret}@a`)).not.toContain(secret);
    expect(canonicalEndpoint({ host: "a", port: 1, password: secret })).toBe("a:1");
    expect(canonicalEndpoint(`unix:/a?password=${secret}`)).toBe("unix:/a");
    expect(canonicalEndpoint(`redis://a?password=${secret}`)).toBe("a:6379");
    expect(canonicalEndpoint(`unix://app:${secret}@/a@b`)).toBe("unix:/a@b?user=app");
    const wrong: unknown[] = [
      `redis://app:${secret}@`,
      `redis://app:${secret}@a:99999999`,
      `redis://app:${secret}@a b`,
      `${secret}:x`,
      `redis://app:/${secret}@a:1`,
      `redis://app:12/${secret}@a:1`,
      `redis://${secret}/1@a:1`,
      `app:12/${secret}@a:1`,
      `redis://app:${secret}?ss@a:1`,
      `redis://app:12?${secret}@a:1`,
      `redis://app:12#${secret}@a:1`,
      `redis://app:12/3?${secret}@a:1`,
      `redis://app:p@ss?${secret}@a:1`,
      `app:${secret}?1@a:1`,
      `unix://app:${secret}/1@/a`,
      `unix://app:${secret}?1@/a`,
      { host: 1, password: secret, port: 1 },
      { host: `a@${secret}`, port: 1 },
      { host: "a", port: secret },
      { path: `${secret}\n` },
      { host: "a", port: 1, password: [secret] },
      { host: "a", port: 1, tls: secret },
      { host: "a", port: 1, db: { secret } },
      `redis://a?ssl=${secret}`,
    ];
    for (const endpoint of wrong) {
      const error = catching(() => canonicalEndpoint(endpoint as Endpoint));
      expect(error).toBeInstanceOf(TypeError);
      expect(`${(error as Error).message}${(error as Error).cause}`).not.toContain(secret);
    }
  });

  it("refuses what is no endpoint", () => {
    const wrong: unknown[] = [
      "",
      " ",
      ":1",
      "a",
      "a:0",
      "a:65536",
      "a:-1",
      "256.1.1.1:1",
      "[::1",
      "[a]:1",
      "[::g]:1",
      "[fe80::1%a%b]:1",
      "tls://a:1?servername=b c",
      "tls://unix:/a?servername=b c",
      "a..:1",
      "a.。:1",
      "postgres://a/b?host=c",
      "postgres://a/b?port=1",
      { host: "fe80::1%a]:1", port: 1 },
      { host: "a", port: 1, db: Number.NaN },
      { host: "a", port: 1, db: null },
      { host: "a", port: 1, tls: "false" },
      null,
      1,
    ];
    for (const endpoint of wrong) expect(() => canonicalEndpoint(endpoint as Endpoint)).toThrow(TypeError);
    expect(() => canonicalEndpoint({ host: "a", port: 1, user: null as never })).toThrow(
      "Cannot read the endpoint: expected its user to be a string, received null",
    );
    expect(() => canonicalEndpoint({ host: "a", port: 1, db: null as never })).toThrow(
      "Cannot read the endpoint: expected its db to be a string or a number, received null",
    );
    expect(() => canonicalEndpoint("a")).toThrow(
      "Cannot read the endpoint: it has no port, and there is no default port",
    );
  });

  it("refuses a scheme that may mean TLS, instead of speaking plain", () => {
    for (const scheme of ["gophers", "kafkas", "mongodb+srv", "REDIS-TLS+S"]) {
      expect(() => canonicalEndpoint(`${scheme}://a:1`)).toThrow(
        new TypeError("Cannot read the endpoint: its scheme is not known, and may mean TLS: give its parts, with tls"),
      );
    }
    for (const scheme of ["redis", "postgres", "ws", "nats", "gopher"]) {
      expect(canonicalEndpoint(`${scheme}://a:1`)).toBe("a:1");
    }
  });

  it("refuses a query that may mean TLS where the scheme does not", () => {
    for (const query of [
      "sslmode=require",
      "sslmode=prefer",
      "ssl",
      "tls=true",
      "ssl-mode=REQUIRED",
      "useSSL=1",
      "a=?&tls=1",
    ]) {
      expect(() => canonicalEndpoint(`postgres://a/b?${query}`)).toThrow(
        new TypeError(
          "Cannot read the endpoint: its query may mean TLS, and its scheme does not: give its parts, with tls",
        ),
      );
    }
  });

  it("blames the option that is wrong, and not the endpoint", () => {
    for (const loopback of ["", "bad host", 5]) {
      expect(() => canonicalEndpoint("localhost:1", { loopback: loopback as string })).toThrow(
        "Cannot read an endpoint: expected loopback to be a name or an address, received",
      );
    }
    for (const defaultPort of [0, 65536, "x"]) {
      expect(() => canonicalEndpoint("a", { defaultPort: defaultPort as number })).toThrow(
        "Cannot read an endpoint: expected defaultPort to be from 1 to 65535, received",
      );
    }
    expect(() => canonicalEndpoint({ host: "a", port: 0 }, { defaultPort: 1 })).toThrow(
      "its port is not from 1 to 65535",
    );
  });

  it("says what to give instead of a URL object", () => {
    const url = new URL("rediss://app:pw@h:6380/2");
    expect(() => canonicalEndpoint(url as never)).toThrow(
      new TypeError("Cannot read the endpoint: it is a URL object, give its href"),
    );
    expect(canonicalEndpoint(url.href)).toBe("tls://app@h:6380/2");
  });

  it("changes nothing when it is applied again", () => {
    const host = fc.oneof(
      fc.domain(),
      fc.ipV4(),
      fc.ipV4Extended(),
      fc.ipV6(),
      fc.constantFrom("LocalHost.", "a。b。", "::1", "a_b", "fe80::1%3", "fe80::1%25", "fe80::1%253"),
    );
    const endpoint = fc.record(
      {
        host,
        port: fc.integer({ min: 1, max: 65535 }),
        tls: fc.boolean(),
        servername: fc.oneof(fc.domain(), fc.ipV6(), fc.constantFrom("a+b", "a&db=1", "fe80::1%25", "fe80::1%2B+")),
        user: fc.string({ minLength: 1 }).filter((text) => !/\p{Cc}/u.test(text)),
        password: fc.string(),
        db: fc.oneof(
          fc.nat(),
          fc.string().filter((text) => !/\p{Cc}/u.test(text)),
        ),
        path: fc.string({ minLength: 1 }).filter((text) => !/\p{Cc}/u.test(text)),
      },
      { requiredKeys: ["host", "port"] },
    );
    fc.assert(
      fc.property(endpoint, fc.constantFrom({}, { loopback: "localhost" }), (parts, options) => {
        const once = canonicalEndpoint(parts, options);
        expect(canonicalEndpoint(once, options)).toBe(once);
      }),
      { numRuns: 500 },
    );
  });
});

describe("readEndpoint()", () => {
  it("reads a long path in the time that it is long", () => {
    const path = `${"/".repeat(100_000)}x//`;
    const before = performance.now();
    expect(readEndpoint(`a:1/${path}`).db).toBe(path.slice(0, -2));
    // One look at each character takes no time; one from each slash on takes seconds.
    expect(performance.now() - before).toBeLessThan(2000);
  });

  it("gives the parts to connect with, the password included", () => {
    expect(readEndpoint("rediss://app:p%40ss@[0::1]/2", { defaultPort: 1 })).toEqual({
      host: "::1",
      port: 6379,
      tls: true,
      servername: undefined,
      user: "app",
      password: "p@ss",
      db: "2",
      path: undefined,
    });
  });
});

function catching(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    return error;
  }
}
