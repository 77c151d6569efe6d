import { Leases } from "lastref/leases";
import { check, done, equal, ok, rejected } from "../harness.mjs";

const KEY = "lastref:{x}";

/** What a script does, by the first of these words that is in it. */
const WORDS = [
  ["INCR", "acquire"],
  ["tonumber", "raise"],
  ["PEXPIRE", "extend"],
  ["DEL", "release"],
];

/** A server in this program: what the scripts of leases do, once it was sent their source. */
function node() {
  const values = new Map();
  const known = new Map();
  const sent = [];
  let fences = 0;
  const scripts = {
    acquire: ([lock, , token, , , force]) => {
      const taken = force === "1" || !values.has(lock);
      if (taken) values.set(lock, token);
      return taken ? [1, ++fences] : [0, 1000];
    },
    extend: ([lock, token]) => Number(values.get(lock) === token),
    raise: ([lock, , token]) => Number(values.get(lock) === token),
    release: ([lock, token]) => Number(values.get(lock) === token && values.delete(lock)),
  };
  const send = async ([command, script, , ...words]) => {
    if (command === "INFO") return "";
    if (command === "EVAL") {
      const [, name] = WORDS.find(([word]) => script.includes(word));
      // The library names each script by a digest that was made elsewhere.
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-1", new TextEncoder().encode(script)));
      known.set(Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join(""), name);
      sent.push(`whole ${name}`);
      return scripts[name](words);
    }
    const name = known.get(script);
    if (name === undefined) throw new Error("NOSCRIPT No matching script. Please use EVAL.");
    sent.push(name);
    return scripts[name](words);
  };
  return { values, sent, send };
}

function leasing(options) {
  const server = node();
  const lost = [];
  const onLost = (name, error) => lost.push(`${name} ${error.reason}`);
  return { ...server, lost, leases: new Leases({ nodes: [server.send], ttl: 5000, onLost, ...options }) };
}

/** The timers of leases keep no process alive. */
const alive = setInterval(() => {}, 1000);

async function until(what, condition) {
  const end = performance.now() + 10_000;
  while (!condition()) {
    ok(performance.now() < end, what);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

await check("takes a lock, shares it, and deletes its key after the last", async () => {
  const { leases, values, sent } = leasing();
  const lease = await leases.acquire("x");
  equal([values.get(KEY), lease.value.held, lease.value.fence], [lease.value.token, true, 1]);
  ok(/^[0-9a-f]{32}$/.test(lease.value.token), "a token of 128 bits");
  const shared = lease.dup();
  equal([await lease.decrRef(), values.size, await shared.decrRef(), values.size], [false, 1, true, 0]);
  // From then on a name is enough.
  await (await leases.acquire("x")).decrRef();
  equal(sent, ["whole acquire", "whole release", "acquire", "release"]);
  await leases.close();
});

await check("who waits is handed the lock in the order of coming", async () => {
  const { leases, values } = leasing();
  const log = [];
  const first = await leases.acquire("x");
  equal(await leases.tryAcquire("x"), undefined);
  const gone = new AbortController();
  const waiting = ["a", "b", "c"].map(async (name) => {
    await using lease = await leases.acquire("x", { wait: 5000, signal: name === "b" ? gone.signal : undefined });
    log.push(`${name} ${values.get(KEY) === lease.value.token} ${lease.value.fence}`);
  });
  gone.abort(new RangeError("b has left"));
  await rejected(waiting[1], "RangeError");
  await rejected(leases.acquire("x", { wait: 0 }), "ERR_LEASE_TIMEOUT");
  await first.decrRef();
  await Promise.all([waiting[0], waiting[2]]);
  equal([log, values.size], [["a true 2", "c true 3"], 0]);
  await leases.close();
});

await check("a lock that another holder has is waited for, and had when it is free", async () => {
  const { leases, send, values, sent } = leasing();
  const other = new Leases({ nodes: [send] });
  const held = await other.acquire("x");
  const waiting = leases.acquire("x", { wait: 5000 });
  await until("the lock was asked for", () => sent.length === 2);
  await held.decrRef();
  await until("it was asked for again", () => values.has(KEY));
  const lease = await waiting;
  equal([values.get(KEY) === lease.value.token, lease.value.fence], [true, 2]);
  await leases.close();
  await other.close();
});

await check("a lock that is taken by force is lost at once here, and by its signal", async () => {
  const { leases, values, lost } = leasing();
  const robbed = await leases.acquire("x");
  const { signal } = robbed.value;
  const forced = await leases.force("x");
  equal([robbed.value.held, signal.aborted, signal.reason?.reason, lost], [false, true, "taken", ["x taken"]]);
  await robbed.decrRef();
  equal([forced.value.held, values.get(KEY) === forced.value.token], [true, true]);
  equal([await forced.decrRef(), values.size], [true, 0]);
  await leases.close();
});

await check("a lease is renewed while it is held, and lost when its key is somebody else's", async () => {
  const { leases, values, sent, lost } = leasing({ ttl: 3000, renewEvery: 10 });
  const lease = await leases.acquire("x");
  const { deadline, signal } = lease.value;
  await until("it was renewed", () => lease.value.deadline > deadline);
  equal([sent[1], lease.value.held], ["whole extend", true]);
  values.set(KEY, "other");
  await until("it is lost", () => signal.aborted);
  equal([signal.reason?.code, signal.reason?.reason, lost], ["ERR_LEASE_LOST", "taken", ["x taken"]]);
  const { released } = lease.value;
  await lease.decrRef();
  equal([await released, values.get(KEY)], ["not-held", "other"]);
  await leases.close();
});

await check("a lease that no renewal reaches is over by its holder's own clock", async () => {
  const { leases, send } = leasing();
  const late = new Leases({ nodes: [(words) => send(words)], ttl: 400 });
  const lease = await late.acquire("x");
  const { deadline, signal } = lease.value;
  // Nothing else runs meanwhile, no timer either.
  while (performance.now() < deadline);
  equal([lease.value.held, lease.value.remaining, signal.aborted], [false, 0, false]);
  await until("it is heard of", () => signal.aborted);
  equal(signal.reason?.reason, "expired");
  await lease.decrRef();
  await Promise.all([leases.close(), late.close()]);
});

await check("close() ends what is held and who waits, and leaves no key", async () => {
  const { leases, values, lost } = leasing();
  const lease = await leases.acquire("x");
  const waiting = rejected(leases.acquire("x"), "ERR_LEASE_LOST");
  await leases.close();
  await waiting;
  equal([lease.value.held, lost, values.size], [false, ["x closed"], 0]);
  await lease.decrRef();
  await rejected(leases.acquire("x"), "ERR_LEASE_LOST");
});

await check("a majority of three is enough", async () => {
  const nodes = [node(), node()];
  const broken = () => Promise.reject(new Error("connection lost"));
  const leases = new Leases({ nodes: [nodes[0].send, broken, nodes[1].send], ttl: 5000, fence: true });
  const lease = await leases.acquire("x", { wait: 0 });
  equal(
    nodes.map(({ values }) => values.get(KEY) === lease.value.token),
    [true, true],
  );
  await lease.decrRef();
  equal(
    nodes.map(({ values }) => values.size),
    [0, 0],
  );
  await leases.close();
});

clearInterval(alive);
done();
