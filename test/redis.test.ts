import { describe, expect, it } from "vitest";
import { redisServer } from "./support/redis";

describe("the redis-server of the tests", () => {
  it("is found on the path, or said to be missing at once", () => {
    expect(redisServer()).toMatch(/redis-server$/);
    expect(() => redisServer([])).toThrow("There is no redis-server here. Install it: apt-get install redis-server");
  });
});
