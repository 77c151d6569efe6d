import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { show } from "./incident";
import { incidents } from "./index";

const expected: Record<string, { damage: number; said: RegExp }> = {
  "valkey-double-close": {
    damage: 1,
    said: /^RefCountError: decrRefCount against refcount <= 0: cannot give back key "user:1 \(write\)"/,
  },
  "braft-early-return": {
    damage: 1_000,
    said: /4 of 19 ways out leak:\n {2}throw at test\/incidents\/prepare-entry\.ts:29, if \(.*\nlastref: 1000 leaks in 1 group \(level full\)\n\nheld {2}log-entry {2}1000 from one site.*"7 \(term 1\)", 1000 of 1001 still held\n {2}opened +prepareForgetful \(.*prepare-entry\.ts.*held by +prepare_entry: owes 1/s,
  },
  "redis-lock-expiry": {
    damage: 1,
    said: /^LeaseLostError: Cannot rely on lease "lock": its time to live ran out before it was renewed$/,
  },
  "rueidis-connection-leak": {
    damage: 2,
    said: /^UseAfterFreeError: Cannot read connection: its last reference was given back and 1 borrow must end/,
  },
  "redis-py-localhost": {
    damage: 19,
    said: /^MapClosedError: Cannot close the map of kind connection: 1 key not given back.*\nlastref: 20 leaks in 1 group \(level full\)\n\nheld {2}connection {2}20 from one site.*redis-py-localhost\.ts.*held by +call \d+: owes 1/s,
  },
};

describe("incidents", () => {
  it("are the five, each with its expectation", () => {
    expect(Object.keys(incidents)).toEqual(Object.keys(expected));
  });

  for (const [name, incident] of Object.entries(incidents)) {
    it(`${name}: the bug does its damage, lastref says so, the cure does none`, async () => {
      const lines: string[] = [];
      const { damage, said, cured } = await show(incident, (line) => lines.push(line));
      expect(damage).toBe(expected[name]?.damage);
      expect(said).toMatch(expected[name]?.said as RegExp);
      expect(cured).toBe(0);
      expect(lines.filter((line) => /^\n[123]\. /.test(line)).length).toBe(3);
    }, 60_000);
  }

  it("run alone by name, and are listed without one", async () => {
    const run = (...name: string[]) =>
      promisify(execFile)(process.execPath, ["test/run-ts.mjs", "--source", "test/incidents/program.ts", ...name]);
    const list = await run();
    for (const name of Object.keys(incidents)) expect(list.stdout).toContain(name);
    const one = await run("valkey-double-close");
    expect(one.stdout).toContain("=> holders of a name that was freed: 0");
    await expect(run("none")).rejects.toMatchObject({ code: 1 });
  }, 60_000);
});
