import { createServer, type Server, type Socket } from "node:net";

export interface SocketServer extends AsyncDisposable {
  readonly port: number;
  /** Sockets that are open on the server's side. */
  readonly open: number;
  /** Sockets that were ever accepted. */
  readonly accepted: number;
}

/** A TCP server on a free loopback port that counts its sockets and sends back what it is sent. */
export async function startSockets(host = "127.0.0.1"): Promise<SocketServer> {
  const sockets = new Set<Socket>();
  let accepted = 0;
  const server: Server = createServer((socket) => {
    accepted++;
    sockets.add(socket);
    socket.on("data", (data) => socket.write(data));
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, host, resolve);
  });
  return {
    port: (server.address() as { port: number }).port,
    get open() {
      return sockets.size;
    },
    get accepted() {
      return accepted;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
