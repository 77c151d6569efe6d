import { describe, expect, it } from "vitest";
import { checkouts } from "../../src/kinds/checkouts";

const failure = new Error("the reset failed");
const worse = new Error("the socket is gone");

/** The ways in which a pool's functions fail. */
const throwing = (error: Error): never => {
  throw error;
};
const rejecting = (error: Error): Promise<never> => Promise.reject(error);

describe.each([
  ["throws", throwing],
  ["rejects", rejecting],
])("a release that %s", (_, fail) => {
  it.each([
    ["throws", throwing],
    ["rejects", rejecting],
  ])("is told with the failure of a destroy that %s", async (_way, failToo) => {
    const pool = checkouts({ acquire: () => 1, release: () => fail(failure), destroy: () => failToo(worse) });
    const checkout = await pool.acquire();
    await expect(checkout.decrRef()).rejects.toMatchObject({ error: worse, suppressed: failure });
    expect(pool.size).toBe(0);
    await pool.close();
  });

  it.each([
    ["at once", () => undefined],
    ["later", async () => undefined],
  ])("destroys the connection %s, once, and is heard by who gave it back", async (_when, destroyed) => {
    const log: string[] = [];
    const pool = checkouts({
      acquire: () => "a connection",
      release: () => fail(failure),
      destroy: (connection) => {
        log.push(`destroy ${connection}`);
        return destroyed();
      },
    });
    const checkout = await pool.acquire();
    await expect(checkout.decrRef()).rejects.toBe(failure);
    expect(log).toEqual(["destroy a connection"]);
    await expect(pool.use(() => "the body's result")).rejects.toBe(failure);
    expect([log.length, pool.size]).toEqual([2, 0]);
    await pool.close();
  });
});
