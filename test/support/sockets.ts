import { connect, createServer, type Server, type Socket } from "node:net";

export interface SocketServer extends AsyncDisposable {
  readonly port: number;
  /** Sockets that are open on the server's side. */
  readonly open: number;
  /** Sockets that were ever accepted. */
  readonly accepted: number;
  /** Cuts all of them off as a crash does: the clients get an error, not an end. */
  cut(): void;
}

/** A connected socket, which nobody listens to yet. */
export function dial(port: number, host = "127.0.0.1"): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, family: 4 });
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
  });
}

/** Listens for the end of a socket, as `lost` is asked to. */
export function onceLost(socket: Socket, lost: (error?: unknown) => void): () => void {
  socket.on("error", lost).on("close", lost);
  return () => socket.off("error", lost).off("close", lost);
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
    cut() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
