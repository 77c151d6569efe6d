import { once } from "node:events";
import { createServer } from "node:http";
import { Handle } from "lastref";
import { afterAll, beforeAll, expect, it } from "vitest";

const open = (label) => Handle.of(label, () => {}, { kind: "key", label });

// It serves in the context it was started in, which is before every test.
const leaky = createServer((request, response) => {
  const handle = open(request.url);
  if (request.url !== "/forgotten") handle.decrRef();
  response.end();
});
let url;
let inUse;
const later = [];
beforeAll(async () => {
  inUse = open("shared by the file");
  leaky.listen(0, "127.0.0.1");
  await once(leaky, "listening");
  url = `http://127.0.0.1:${leaky.address().port}`;
  leaky.on("connection", (socket) => {
    const connection = open("connection");
    socket.on("close", () => connection.decrRef());
    later.push(socket);
  });
  return () => {
    for (const socket of later) socket.destroy();
    leaky.close();
  };
});
afterAll(() => inUse.decrRef());

it("clean: is served", async () => {
  expect((await fetch(`${url}/paid`)).ok).toBe(true);
  expect(inUse.alive).toBe(true);
});
it("clean, but the server that serves it forgets a handle", async () => {
  expect((await fetch(`${url}/${process.env.PATH_ASKED ?? "forgotten"}`)).ok).toBe(true);
});
