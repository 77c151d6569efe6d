import { HandleMap } from "lastref";
import { check, done, equal, rejected } from "../harness.mjs";

function links(options) {
  const log = [];
  const map = new HandleMap({
    open: async (key) => {
      log.push(`open ${key}`);
      await Promise.resolve();
      if (key === "bad") throw new RangeError("no such host");
      return { key };
    },
    free: async ({ key }) => void log.push(`close ${key}`),
    canonical: (key) => key.toLowerCase(),
    ...options,
  });
  return { map, log };
}

await check("opens once for all that ask, and frees after the last", async () => {
  const { map, log } = links();
  const handles = await Promise.all(["DB", "db", "Db"].map((key) => map.acquire(key)));
  equal([new Set(handles.map(({ value }) => value)).size, handles[0].refCount, map.size], [1, 3, 1]);
  for (const handle of handles) await handle.decrRef();
  equal([log, map.size, map.peek("db")], [["open db", "close db"], 0, undefined]);
});

await check("does not remember a failed open", async () => {
  const { map, log } = links();
  await Promise.all([rejected(map.acquire("bad"), "RangeError"), rejected(map.acquire("BAD"), "RangeError")]);
  equal([log, map.size], [["open bad"], 0]);
});

await check("keeps an idle value until it is asked for again or closed", async () => {
  const { map: opened, log } = links({ idle: Number.POSITIVE_INFINITY });
  await using map = opened;
  const first = await map.acquire("a");
  const { value } = first;
  await first.decrRef();
  const second = await map.acquire("a");
  equal([second.value === value, log], [true, ["open a"]]);
  await second.decrRef();
  await map.close();
  equal(log, ["open a", "close a"]);
  await rejected(map.acquire("a"), "ERR_MAP_CLOSED");
});

await check("a late release after invalidate touches its own generation only", async () => {
  const { map, log } = links();
  await using old = await map.acquire("a");
  equal(map.invalidate("a"), true);
  await using fresh = await map.acquire("a");
  equal([fresh.value === old.value, fresh.refCount], [false, 1]);
  await old.decrRef();
  equal([fresh.alive, log], [true, ["open a", "open a", "close a"]]);
  await fresh.decrRef();
  equal(map.size, 0);
});

await check("opens a thousand keys at once, and a full map says so", async () => {
  const { map } = links();
  const handles = await Promise.all(Array.from({ length: 1000 }, (_, i) => map.acquire(`host ${i}`)));
  equal(map.size, 1000);
  await Promise.all(handles.map((handle) => handle.decrRef()));
  equal(map.size, 0);
  const { map: full } = links({ max: 1, whenFull: "throw" });
  {
    await using one = await full.acquire("a");
    await rejected(full.acquire("b"), "ERR_MAP_FULL");
    equal(one.alive, true);
  }
  equal(full.size, 0);
});

done();
