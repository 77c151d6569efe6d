import { describe, expect, it } from "vitest";
import { addOwner, type Entry, leaveAll, OWNED, OwnedList, owns, PAY, removeOwner, THING } from "../src/owned-list";

class Item implements Entry {
  owned = true;
  checked = 0;
  get [THING](): unknown {
    return this;
  }
  [OWNED](): boolean {
    this.checked++;
    return this.owned;
  }
  [PAY](): void {}
}

function filled(n: number): { list: OwnedList; items: Item[] } {
  const list = new OwnedList();
  const items = Array.from({ length: n }, () => new Item());
  for (const item of items) list.add(item);
  return { list, items };
}

function leave(list: OwnedList, item: Item): void {
  item.owned = false;
  list.left();
}

describe("OwnedList", () => {
  it("counts what it owns, not what has left", () => {
    const { list, items } = filled(5);
    leave(list, items[1] as Item);
    leave(list, items[3] as Item);
    expect(list.size).toBe(3);
  });

  it("holds at most twice the live entries and a constant", () => {
    const { list, items } = filled(10_000);
    for (const [i, item] of items.entries()) {
      leave(list, item);
      expect(list.items.length).toBeLessThanOrEqual(2 * (10_000 - i - 1) + 17);
    }
    expect(list.size).toBe(0);
  });

  it("leaves the places alone until more than half of them are gone", () => {
    const { list, items } = filled(100);
    for (const item of items.slice(0, 50)) leave(list, item);
    expect([list.items.length, list.size]).toEqual([100, 50]);
    leave(list, items[50] as Item);
    expect([list.items.length, list.size]).toEqual([49, 49]);
    expect(list.items).toEqual(items.slice(51));
  });

  it("looks at each place a constant number of times, in whichever order the entries leave", () => {
    for (const order of ["fifo", "lifo", "odd first"]) {
      const { list, items } = filled(4096);
      const leaving = order === "lifo" ? items.toReversed() : items;
      if (order === "odd first") {
        for (const [i, item] of items.entries()) if (i % 2 === 1) leave(list, item);
      }
      for (const item of leaving) if (item.owned) leave(list, item);
      expect(list.size).toBe(0);
      const looks = items.reduce((sum, item) => sum + item.checked, 0);
      expect(looks).toBeLessThanOrEqual(2 * items.length);
    }
  });

  it("hands over its places and starts empty", () => {
    const { list, items } = filled(3);
    leave(list, items[0] as Item);
    expect(list.take()).toEqual(items);
    expect([list.items, list.size]).toEqual([[], 0]);
  });

  it("removes the newest place of an entry that stands in several", () => {
    const { list, items } = filled(2);
    const [a, b] = items as [Item, Item];
    list.add(a);
    list.remove(a);
    expect(list.items).toEqual([a, b]);
  });
});

describe("Owners", () => {
  const [a, b] = [new OwnedList(), new OwnedList()];

  it("are none, one, or several with the newest last", () => {
    const one = addOwner(undefined, a);
    expect(one).toBe(a);
    const two = addOwner(one, b);
    const three = addOwner(two, a);
    expect(three).toEqual([a, b, a]);
    expect([owns(undefined, a), owns(one, a), owns(one, b), owns(two, b), owns(two, new OwnedList())]).toEqual([
      false,
      true,
      false,
      true,
      false,
    ]);
    expect(removeOwner(three, a)).toEqual([a, b]);
    expect(removeOwner(removeOwner(three, a), a)).toBe(b);
    expect(removeOwner(one, a)).toBe(undefined);
  });

  it("are all told when the account leaves", () => {
    const { list: first } = filled(3);
    const { list: second } = filled(3);
    leaveAll([first, second, second]);
    expect([first.size, second.size]).toEqual([2, 1]);
    leaveAll(first);
    leaveAll(undefined);
    expect([first.size, second.size]).toEqual([1, 1]);
  });
});
