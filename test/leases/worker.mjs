// One of several processes that count in a plain file under one lock:
// node worker.mjs <leases> <lock port> <witness port> <counter file> <rounds> <ttl>
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { createClient } from "redis";

const [file, lockPort, witnessPort, counter, rounds, ttl] = process.argv.slice(2);
const { fromNodeRedis, Leases } = await import(pathToFileURL(file).href);
const connect = async (port) => {
  const client = createClient({ socket: { port: Number(port), host: "127.0.0.1" } });
  client.on("error", () => {});
  return client.connect();
};
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const [client, witness] = await Promise.all([connect(lockPort), connect(witnessPort)]);
const leases = new Leases({ nodes: [fromNodeRedis(client)], ttl: Number(ttl) });
let most = 0;
let lost = 0;
let lastFence = 0;
let fences = true;
for (let i = 0; i < Number(rounds); i++) {
  const handle = await leases.acquire("counter");
  most = Math.max(most, await witness.incr("inside"));
  const { fence } = handle.value;
  fences &&= fence > lastFence;
  lastFence = fence;
  const before = Number(readFileSync(counter, "utf8"));
  if (i % 8 === 0) await pause(1);
  writeFileSync(counter, String(before + 1));
  await witness.decr("inside");
  if (handle.value.signal.aborted) lost++;
  await handle.decrRef();
  // Somebody else gets a chance.
  await pause(Math.random() * 8);
}
await leases.close();
witness.destroy();
client.destroy();
console.log(JSON.stringify({ most, lost, fences }));
