import { withSites } from "../../src/leaks/text";
import { type AccountRecord, type ContextRecord, type ResourceFacts, realm, type Tracker } from "../../src/tracker";

/** A tracker that writes down what it hears, as lines: the seam as the core uses it. */
export class RecordingTracker implements Tracker {
  readonly adopts = true;
  readonly log: string[] = [];
  readonly facts: ResourceFacts[] = [];
  readonly errors: Error[] = [];
  sites: ReturnType<AccountRecord["sites"]> = {};
  #accounts = 0;
  #contexts = 0;
  readonly #names = new WeakMap<ContextRecord, string>();

  wants(): boolean {
    return true;
  }

  opened(facts: ResourceFacts) {
    const { kind, label, bytes, count, value } = facts;
    this.facts.push({ kind, label, bytes, count, value, settle: (owed) => facts.settle(owed) });
    this.log.push(`opened ${facts.kind.name}`);
    return {
      account: (_: object, holder: string | undefined): AccountRecord => {
        const name = holder ?? `#${++this.#accounts}`;
        const say = (what: string): void => void this.log.push(`${name} ${what}`);
        say("account");
        return {
          counted: (delta) => say(`counted ${delta}`),
          closed: () => say("closed"),
          moved: () => say("moved"),
          owned: (context) => say(context ? `owned by ${this.#names.get(context)}` : "owned by nobody"),
          escaped: () => say("escaped"),
          refused: (Refusal, message, facts) => {
            const error = new Refusal(withSites(message, this.sites), { ...facts, ...this.sites });
            this.errors.push(error);
            say(`misused ${error.name}`);
            return error;
          },
          sites: () => this.sites,
        };
      },
      freed: () => void this.log.push("freed"),
    };
  }

  context(): ContextRecord {
    const name = `context ${++this.#contexts}`;
    const record = {
      end: () => void this.log.push(`${name} ended`),
      moved: () => void this.log.push(`${name} moved`),
    };
    this.#names.set(record, name);
    return record;
  }

  /** Runs `body` while this tracker is on, synchronously. */
  during<R>(body: () => R): R {
    const before = realm.tracker;
    realm.tracker = this;
    try {
      return body();
    } finally {
      realm.tracker = before;
    }
  }
}
