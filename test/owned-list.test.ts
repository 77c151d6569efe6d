import { describe, expect, it } from "vitest";
import { addOwner, type Entry, leaveAll, OWNED, OwnedList, owns, PAY, removeOwner } from "../src/owned-list";

class Item implements Entry {
  owned = true;
  checked = 0;
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
    for (const gone of [0, 10, 100, 5000, 9000, 9990, 10_000]) {
      const { list, items } = filled(10_000);
      for (const item of items.slice(0, gone)) leave(list, item);
      expect(list.size).toBe(10_000 - gone);
      expect(list.takeAll().length).toBeLessThanOrEqual(2 * (10_000 - gone) + 17);
    }
  });

  it("leaves the places alone until more than half of them are gone", () => {
    const half = filled(100);
    for (const item of half.items.slice(0, 50)) leave(half.list, item);
    expect([half.list.size, half.list.takeAll().length]).toEqual([50, 100]);
    const more = filled(100);
    for (const item of more.items.slice(0, 51)) leave(more.list, item);
    expect([more.list.size, more.list.takeAll()]).toEqual([49, more.items.slice(51)]);
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

  it("takes an entry out and in again and again with a constant number of looks at the others", () => {
    for (const place of [100, 4090]) {
      const { list, items } = filled(4096);
      const item = items[place] as Item;
      for (let i = 0; i < 1000; i++) {
        list.takenOut(item);
        list.add(item);
      }
      expect(list.size).toBe(4096);
      const looks = items.reduce((sum, { checked }) => sum + checked, 0);
      expect(looks).toBeLessThanOrEqual(items.length);
      const left = list.takeAll().filter((entry) => entry instanceof Item);
      expect(left).toEqual([...items.filter((other) => other !== item), item]);
    }
  });

  it("reaches nothing that was taken out, from whichever place, before and after a sweep", () => {
    const { list, items } = filled(1000);
    const out = items.filter((_, i) => i % 3 === 0);
    for (const item of out) list.takenOut(item);
    for (const item of items.filter((_, i) => i % 3 === 1)) leave(list, item);
    for (const item of items.filter((_, i) => i % 9 === 2)) list.takenOut(item);
    const rest = items.filter((_, i) => i % 3 === 2 && i % 9 !== 2);
    expect(list.size).toBe(rest.length);
    const left = list.takeAll().filter((entry) => entry instanceof Item && entry.owned);
    expect(left).toEqual(rest);
  });

  it("hands over everything, and sweeps it no more however many leave", () => {
    const { list, items } = filled(200);
    const taken = list.takeAll();
    expect(taken).toEqual(items);
    for (const item of items.slice(0, 150)) leave(list, item);
    expect([taken.length, items.every(({ checked }) => checked === 0)]).toEqual([200, true]);
  });

  it("removes the newest place of an entry that stands in several", () => {
    const { list, items } = filled(100);
    const first = items[0] as Item;
    list.add(first);
    expect(list.remove((entry) => entry === first)).toBe(true);
    expect([list.size, list.remove((entry) => entry instanceof Item && !entry.owned)]).toEqual([100, false]);
    expect(list.remove((entry) => entry === first)).toBe(true);
    expect([list.size, list.takeAll()]).toEqual([99, items.slice(1)]);
  });

  it("removes the newest of two places, however far apart", () => {
    for (const between of [3, 100]) {
      const { list, items } = filled(between);
      const twice = items[0] as Item;
      list.add(twice);
      list.remove((entry) => entry === twice);
      expect(list.takeAll()).toEqual(items);
    }
  });
});

describe("Owners", () => {
  const [a, b] = [new OwnedList(), new OwnedList()];

  it("are none, one, or several with the newest last", () => {
    const one = addOwner(undefined, a);
    expect(one).toBe(a);
    const two = addOwner(one, b);
    expect(two).toEqual([a, b]);
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
    expect(removeOwner(three, a)).toBe(b);
    expect(removeOwner(one, a)).toBe(undefined);
  });

  it("are told once for every place, also when the first of them makes the list sweep", () => {
    const { list, items } = filled(17);
    const twice = items[0] as Item;
    list.add(twice);
    for (const item of items.slice(1)) leave(list, item);
    expect(list.size).toBe(2);
    twice.owned = false;
    leaveAll([list, list]);
    expect(list.size).toBe(0);
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
