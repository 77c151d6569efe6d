import { warn } from "../account";
import type { Signal } from "./platform";

/** Who waits for one signal. */
interface Audience {
  readonly all: Set<() => void>;
  heard(): void;
}

/** However many callers wait with one signal, it has one listener: platforms warn of many as of a leak. */
const audiences = /* @__PURE__ */ new WeakMap<object, Audience>();

/** Calls once when the signal aborts, in the order in which they began to listen. Throws what the signal throws. */
export function listen(signal: Signal, call: () => void): void {
  const known = audiences.get(signal);
  if (known !== undefined) {
    known.all.add(call);
    return;
  }
  const all = new Set([call]);
  const audience: Audience = {
    all,
    heard: () => {
      for (const heard of [...all]) {
        // Who hears it first may make another one leave.
        if (all.delete(heard)) heard();
      }
      end(signal, audience);
    },
  };
  audiences.set(signal, audience);
  try {
    signal.addEventListener("abort", audience.heard);
  } catch (error) {
    audiences.delete(signal);
    throw error;
  }
}

/** Takes back a {@link listen}. Never throws. */
export function unlisten(signal: Signal, call: () => void): void {
  const audience = audiences.get(signal);
  if (audience?.all.delete(call) && audience.all.size === 0) end(signal, audience);
}

function end(signal: Signal, audience: Audience): void {
  if (audiences.get(signal) !== audience) return;
  audiences.delete(signal);
  try {
    signal.removeEventListener("abort", audience.heard);
  } catch (error) {
    warn(error);
  }
}
