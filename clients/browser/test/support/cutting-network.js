// Real sockets: the scripted server behind a network that cuts connections after so many bytes.

import { once } from "node:events";
import { connect, createServer } from "node:net";
import { WebSocketServer } from "ws";

/** @typedef {import("./scripted-server.js").ScriptedServer} ScriptedServer */
/** @typedef {{ up?: number, down?: number }} Cut  after how many bytes of the client, or of the server */

/** The server's end of a real connection. */
class SocketEnd {
  #socket;
  /** @type {(Uint8Array | string)[]} */
  #inbox = [];
  #wake = () => {};
  #isClosed = false;

  /** @param {import("ws").WebSocket} socket */
  constructor(socket) {
    this.#socket = socket;
    socket.on("message", (/** @type {Buffer} */ data, isBinary) => {
      this.#inbox.push(isBinary ? data : data.toString());
      this.#wake();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#isClosed = true;
      this.#wake();
    });
  }

  /** @returns {Promise<Uint8Array | string>} */
  async receive() {
    while (this.#inbox.length === 0) {
      if (this.#isClosed) throw new Error("closed");
      await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
    }
    return /** @type {Uint8Array | string} */ (this.#inbox.shift());
  }

  async receiveMessage() {
    return JSON.parse(/** @type {string} */ (await this.receive()));
  }

  /** @param {...object} events */
  say(...events) {
    for (const event of events) this.#socket.send(JSON.stringify(event));
  }

  close(code = 1000) {
    this.#socket.close(code);
  }
}

/**
 * The address of the server behind the network, while `use` runs.
 * @param {ScriptedServer} server
 * @param {Cut[]} cuts  of each connection in turn
 * @param {(url: string) => Promise<void>} use
 */
export async function cuttingNetwork(server, cuts, use) {
  const left = [...cuts];
  const sockets = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });
  await once(sockets, "listening");
  sockets.on("connection", (socket) => void server.serve(new SocketEnd(socket)).catch(() => {}));
  const open = new Set();
  const network = createServer((near) => {
    const { up = Infinity, down = Infinity } = left.shift() ?? {};
    const far = connect(portOf(sockets), "127.0.0.1");
    for (const socket of [near, far]) {
      open.add(socket);
      socket.on("error", () => {});
    }
    const cut = () => {
      near.destroy();
      far.destroy();
    };
    pass(near, far, up, cut);
    pass(far, near, down, cut);
  });
  network.listen(0, "127.0.0.1");
  await once(network, "listening");
  try {
    await use(`ws://127.0.0.1:${portOf(network)}/ws`);
  } finally {
    for (const socket of open) socket.destroy();
    for (const socket of sockets.clients) socket.terminate();
    network.close();
    sockets.close();
  }
}

/** @param {import("node:net").Server | WebSocketServer} server */
function portOf(server) {
  return /** @type {import("node:net").AddressInfo} */ (server.address()).port;
}

/**
 * @param {import("node:net").Socket} from @param {import("node:net").Socket} to @param {number} limit
 * @param {() => void} cut
 */
function pass(from, to, limit, cut) {
  let passed = 0;
  from.on("data", (data) => {
    const rest = Math.max(0, limit - passed);
    passed += data.length;
    to.write(data.subarray(0, rest));
    if (data.length >= rest) setTimeout(cut, 1); // what has passed arrives
  });
  from.on("close", cut);
}
