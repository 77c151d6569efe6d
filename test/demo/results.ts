import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { type AsyncAutoMemory, type AsyncHandle, defineAsyncResource } from "lastref";

/** What the two readers of a file found out. */
export interface Result {
  readonly path: string;
  readonly lines: number;
  readonly bytes: number;
  readonly sha256: string;
}

export interface Totals {
  files: number;
  lines: number;
  bytes: number;
}

/** Either end of a TCP connection. */
export const Connection = defineAsyncResource({
  kind: "connection",
  label: (socket) => `127.0.0.1:${socket.localPort} to :${socket.remotePort}`,
  open: async (port: number): Promise<Socket> => {
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    return socket;
  },
  free: async (socket) => {
    if (socket.closed) return;
    const closed = once(socket, "close");
    socket.end();
    // Nobody listens for what the other end still sends, and unread bytes would hold the close back.
    socket.resume();
    await closed;
  },
});

export const Listener = defineAsyncResource({
  kind: "listener",
  label: (server) => `127.0.0.1:${portOf(server)}`,
  open: async (): Promise<Server> => {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return server;
  },
  free: (server) =>
    new Promise<void>((resolve, reject) => server.close((error) => (error ? reject(error) : resolve()))),
});

export function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/**
 * Takes in results, one JSON object a line, and answers an empty line with the totals so far.
 *
 * @returns The server's handle, owned by `memory`, which owns a handle for every connection that comes in as well.
 */
export async function listen(memory: AsyncAutoMemory, totals: Totals): Promise<AsyncHandle<Server>> {
  const listener = await memory.open(Listener);
  listener.value.on("connection", (socket) => {
    const connection = memory.use(Connection.wrap(socket));
    const lines = createInterface({ input: socket });
    lines.on("line", (line) => {
      if (line === "") {
        socket.write(`${JSON.stringify(totals)}\n`);
        return;
      }
      const result = JSON.parse(line) as Result;
      totals.files++;
      totals.lines += result.lines;
      totals.bytes += result.bytes;
    });
    // The client has hung up. If the context is ending at the same moment, the account is closed already.
    lines.on("close", () => void connection[Symbol.asyncDispose]());
  });
  return listener;
}

/** Sends one result. The borrow keeps the connection open until the operating system has taken the bytes. */
export async function send(connection: AsyncHandle<Socket>, result: Result): Promise<void> {
  await connection.borrow(async (socket) => {
    if (!socket.write(`${JSON.stringify(result)}\n`)) await once(socket, "drain");
  });
}

/** Asks the server for what it has taken in: everything that this connection sent before is in it. */
export async function ask(connection: AsyncHandle<Socket>): Promise<Totals> {
  return connection.borrow(async (socket) => {
    const lines = createInterface({ input: socket });
    const answer = once(lines, "line");
    socket.write("\n");
    const [line] = (await answer) as [string];
    lines.close();
    return JSON.parse(line) as Totals;
  });
}
