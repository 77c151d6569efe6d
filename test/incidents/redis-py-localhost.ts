import { connect, type Socket } from "node:net";
import { ConnectionMap } from "../../src/kinds/connection-map";
import { leakReport, trackLeaks } from "../../src/leaks/index";
import { type SocketServer, startSockets } from "../support/sockets";
import { until } from "../support/until";
import { type Incident, rejectionOf } from "./incident";

const CALLS = 20;

function dial(host: string | undefined, port: number | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: port ?? 0, family: 4 });
    socket.once("error", reject);
    socket.once("connect", () => resolve(socket));
  });
}

function hangUp(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once("close", () => resolve());
    socket.destroy();
  });
}

/** A cluster client's table of nodes: stored under the address the socket has, looked up by the name the user gave. */
async function naiveClient(server: SocketServer, calls: number): Promise<Socket[]> {
  const nodes = new Map<string, Socket>();
  const opened: Socket[] = [];
  for (let i = 0; i < calls; i++) {
    if (nodes.has(`localhost:${server.port}`)) continue;
    const socket = await dial("localhost", server.port);
    opened.push(socket);
    nodes.set(`${socket.remoteAddress}:${server.port}`, socket);
  }
  return opened;
}

function links(loopback: string | undefined): ConnectionMap<Socket> {
  return new ConnectionMap<Socket>({
    open: (_, { endpoint }) => dial(endpoint.host, endpoint.port),
    free: hangUp,
    ...(loopback === undefined ? {} : { loopback }),
  });
}

export const incident: Incident = {
  title: "Stored as 127.0.0.1, looked up as localhost: a connection per call (redis-py, cluster)",
  damaged: "sockets open beyond the one that is needed",
  async bug(say) {
    await using server = await startSockets();
    const opened = await naiveClient(server, CALLS);
    await until(() => server.open === CALLS);
    say(`${CALLS} calls for localhost:${server.port}, a real server on 127.0.0.1: ${server.open} sockets are open`);
    for (const socket of opened) socket.destroy();
    return opened.length - 1;
  },
  async told(say) {
    await using server = await startSockets();
    using _tracking = trackLeaks({ level: "full" });
    const map = links(undefined);
    const handles = [];
    for (let i = 0; i < CALLS; i++) {
      handles.push(await map.acquire(`localhost:${server.port}`, { holder: `call ${i + 1}` }));
    }
    await until(() => server.open === 1);
    say(`the same ${CALLS} calls through a ConnectionMap, whose handles nobody gives back: ${server.open} socket`);
    const said = await rejectionOf(map.close({ timeout: 20 }));
    const report = String(leakReport());
    await map.close({ force: true });
    return `${said}\n\n${report}`;
  },
  async cure(say) {
    await using server = await startSockets();
    const map = links("127.0.0.1");
    let most = 0;
    for (let i = 0; i < CALLS; i++) {
      await using held = await map.acquire(`127.0.0.1:${server.port}`, { holder: "pool" });
      await using asked = await map.acquire({ host: "LOCALHOST.", port: server.port }, { holder: `call ${i + 1}` });
      if (asked.value !== held.value) throw new Error("Two names, two sockets");
      await until(() => server.open === 1);
      most = Math.max(most, server.open);
    }
    await map.close();
    await until(() => server.open === 0);
    say(`at most ${most} socket at a time under both names, and ${server.open} after the last holder`);
    return most - 1 + server.open;
  },
};
