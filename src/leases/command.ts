import { received } from "../errors";
import { platform } from "./platform";

/**
 * Sends one command to one server (or cluster), as its words, and gives its reply.
 *
 * This is all that leases ask of a client. A reply may be a string, a number, a bigint or a Buffer; an error reply
 * rejects, with a message that begins with the server's own words.
 */
export type SendCommand = (args: readonly string[]) => Promise<unknown>;

/** The text of a reply; `undefined` for null and anything else that is no text. */
export function text(reply: unknown): string | undefined {
  if (typeof reply === "string") return reply;
  if (typeof reply === "number" || typeof reply === "bigint") return String(reply);
  if (reply instanceof Uint8Array) return new platform.TextDecoder().decode(reply);
  return undefined;
}

/** The number in a reply, however the client spells it; `NaN` for null and anything that is none. */
export function integer(reply: unknown): number {
  if (typeof reply === "number") return reply;
  const words = text(reply);
  return words === undefined || words === "" ? Number.NaN : Number(words);
}

/** The elements of an array reply. */
export function list(reply: unknown): readonly unknown[] {
  return Array.isArray(reply) ? reply : [];
}

/** What a client said went wrong, which need not be an error, nor one of this realm. */
function message(error: unknown): string {
  try {
    const said = (error as { message?: unknown } | null | undefined)?.message;
    return typeof said === "string" ? said : String(error);
  } catch {
    return "";
  }
}

/** The server does not have the script (any more): it restarted, or somebody flushed them. */
export function isNoScript(error: unknown): boolean {
  const said = message(error);
  return said.startsWith("NOSCRIPT") || said.includes("NoScriptError");
}

/** The server does not do it for this user: its access list forbids it, or it knows no such command. */
export function isDenied(error: unknown): boolean {
  const said = message(error);
  return isForbidden(said) || /unknown command|syntax error|wrong number of arguments/i.test(said);
}

/** A key that the access list forbids has nothing to do with what the server can. */
function isForbidden(said: string): boolean {
  return /(?:^|\s)NOPERM\b|PermissionDenied/.test(said) && !/access (?:a|one of the) key/.test(said);
}

/** The key has a value of another type: it is not ours. */
export function isWrongType(error: unknown): boolean {
  return /(?:^|\s)WRONGTYPE\b/.test(message(error));
}

/**
 * An answer that asking again will not change, unlike a lost connection or a server that is still loading.
 *
 * A client that follows a cluster's redirections shows none of them, and one that does not is sent elsewhere for ever. A
 * client of node-redis or valkey-glide that says it is closed was never connected, or was closed for good.
 */
export function isFinal(error: unknown): boolean {
  const said = message(error);
  // A server that is full, and what servers before Redis 7 make of a READONLY, an OOM and the like that stopped a script.
  if (/max number of clients|Error running script .*: -(?!ERR\b|NOPERM\b)[A-Z]+\b/.test(said)) return false;
  if (said.includes("he client is closed")) return true;
  return /^(?:ERR|MOVED|NOAUTH|NOPERM|WRONGPASS|WRONGTYPE)\b|- (?:ResponseError|PermissionDenied):/.test(said);
}

/** A reply that makes no sense, so that what became of the command is unknown. */
export class BadReply extends Error {
  override readonly name = "BadReply";

  constructor(command: string, reply: unknown) {
    super(`${command} was answered with what is no reply to it: ${received(reply)}`);
  }
}

/** A command that was not answered in time: whether it was carried out is unknown. */
export class NoAnswer extends Error {
  override readonly name = "NoAnswer";

  constructor(command: string, ms: number) {
    super(`${command} was not answered within ${Math.round(ms)} ms`);
  }
}
