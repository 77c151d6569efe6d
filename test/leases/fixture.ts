import { afterAll, beforeAll } from "vitest";
import { Leases, type LeasesOptions, type SendCommand } from "../../src/leases/index";
import { type Raw, TestServer } from "./servers";

export { keyOf } from "./servers";

/** One server for the tests of a file, which leave it as they found it. Whoever hurts one starts it for itself. */
export let server: TestServer;
/** A client of it, as a user has one. */
export let send: SendCommand;
/** A connection that looks at its keys. */
export let raw: Raw;

beforeAll(async () => {
  server = await TestServer.start();
  send = await server.client();
  raw = await server.raw();
});
// Undefined where there is no redis-server: that has been said.
afterAll(() => server?.stop());

export function make(options: Partial<LeasesOptions> = {}): Leases {
  return new Leases({ nodes: [send], ttl: 2000, ...options });
}

/** The client, with a list of the commands that were sent through it. */
export function counting(): { readonly sent: string[]; readonly send: SendCommand } {
  const sent: string[] = [];
  return {
    sent,
    send: (args) => {
      sent.push(args[0] as string);
      return send(args);
    },
  };
}
