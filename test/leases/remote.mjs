// A process with leases of its own, that does what it is told over IPC: node remote.mjs <leases> <port> <ttl>
import { pathToFileURL } from "node:url";
import { createClient } from "redis";

const [file, port, ttl] = process.argv.slice(2);
const { fromNodeRedis, Leases } = await import(pathToFileURL(file).href);
const client = createClient({ socket: { port: Number(port), host: "127.0.0.1" } });
client.on("error", () => {});
await client.connect();
const leases = new Leases({ nodes: [fromNodeRedis(client)], ttl: Number(ttl) });
let handle;

const take = (taken) => {
  handle = taken;
  return handle && { token: handle.value.token, fence: handle.value.fence };
};
const actions = {
  acquire: async (name) => take(await leases.acquire(name)),
  tryAcquire: async (name) => take(await leases.tryAcquire(name)),
  force: async (name) => take(await leases.force(name)),
  release: async () => {
    const { value } = handle;
    await handle.decrRef();
    return value.released;
  },
  /** Settles when the lease is lost, with the reason. */
  lost: () => {
    const { signal } = handle.value;
    return new Promise((resolve) => {
      const say = () => resolve(signal.reason.reason);
      if (signal.aborted) say();
      else signal.addEventListener("abort", say);
    });
  },
  /** Settles when the lease was renewed: whether its fence is the same then. */
  renewed: async () => {
    const { deadline, fence } = handle.value;
    while (handle.value.held && handle.value.deadline === deadline) await new Promise((done) => setTimeout(done, 5));
    return handle.value.held && handle.value.fence === fence;
  },
};

process.on("message", async ({ id, action, name }) => {
  try {
    process.send({ id, said: await actions[action](name) });
  } catch (error) {
    process.send({ id, failed: String(error) });
  }
});
process.on("disconnect", () => process.exit());
process.send({ id: "ready" });
