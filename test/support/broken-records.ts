import { realm } from "../../src/tracker";

/** Runs a body while a detector is at work that cannot say where anything was opened: it throws `failure`. */
export async function withBrokenRecords(failure: Error, body: () => Promise<void>): Promise<void> {
  const record = {
    closed: () => {},
    sites: () => {
      throw failure;
    },
  };
  const before = realm.tracker;
  const opened = () => ({ account: () => record, freed: () => {} });
  realm.tracker = { wants: () => true, adopts: true, opened, context: () => undefined } as never;
  try {
    await body();
  } finally {
    realm.tracker = before;
  }
}
