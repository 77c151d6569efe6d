import { AutoMemory } from "../../src/auto-memory";
import { Keyspace } from "../../src/kinds/keyspace";
import { type Incident, messageOf } from "./incident";

/** A counted name as the server has it: the database, and every open key, hold one reference. */
class Name {
  refCount = 1;
  freed = false;
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** `RM_OpenKey` and `RM_CloseKey` in miniature: closing decrements the name, whoever calls it and however often. */
class NaiveKey {
  readonly name: Name;
  constructor(name: Name) {
    this.name = name;
    name.refCount++;
  }
  close(): void {
    if (--this.name.refCount === 0) this.name.freed = true;
  }
}

/** The module's command: an early exit closes the key, and the common exit closes it again. */
function command<K>(key: K, wrongType: boolean, close: (key: K) => void): void {
  if (wrongType) close(key);
  close(key);
}

export const incident: Incident = {
  title: "A module closes a key twice, and the name is freed under everybody else (Valkey module API, CloseKey)",
  damaged: "holders of a name that was freed",
  async bug(say) {
    const name = new Name("user:1");
    const other = new NaiveKey(name);
    const key = new NaiveKey(name);
    say(`the database and two open keys hold the name: count ${name.refCount}`);
    command(key, true, (k) => k.close());
    say(`one of them was closed twice: count ${name.refCount}, while the database and the other key hold it`);
    other.close();
    say(
      `the other key is closed, once: count ${name.refCount}, ${name.freed ? "freed" : "kept"}; the database still holds it`,
    );
    return name.freed ? 1 : 0;
  },
  async told(say) {
    const keys = new Keyspace<string>();
    const other = keys.open("user:1", { mode: "write" });
    const key = keys.open("user:1", { mode: "write" });
    const error = messageOf(() => command(key, true, (k) => keys.close(k)));
    say(`the name still has ${keys.refCount("user:1")} holder, and that one can be used: ${other.value.name}`);
    keys.close(other);
    return error;
  },
  async cure(say) {
    const keys = new Keyspace<string>();
    const other = keys.open("user:1", { mode: "write" });
    for (const wrongType of [true, false]) {
      AutoMemory.run((memory) => {
        const key = memory.use(keys.open("user:1", { mode: "write" }));
        // The early exit just leaves: the context closes the key, once, on every path.
        if (wrongType) return;
        key.value.set("Ada");
      });
    }
    say(`after both exits the name has ${keys.refCount("user:1")} holder, and it reads ${other.value.get()}`);
    const wrong = keys.refCount("user:1") - 1;
    keys.close(other);
    return wrong + keys.refCount("user:1") + keys.stats.live;
  },
};
