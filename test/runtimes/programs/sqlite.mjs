// needs: node:sqlite
import { DatabaseSync } from "node:sqlite";
import { AutoMemory, defineResource } from "lastref";
import { check, done, equal, refused } from "../harness.mjs";

const Database = defineResource({
  kind: "database",
  open: (path) => new DatabaseSync(path),
  free: (database) => database.close(),
  label: (_database, path) => path,
});

// A row cursor holds its database: sqlite finalizes the statements of a database that is closed under them.
const Rows = defineResource({
  kind: "rows",
  open: (database, sql) => ({ database: database.dup("rows"), rows: database.value.prepare(sql).iterate() }),
  free: ({ database, rows }) => {
    rows.return?.();
    database.decrRef();
  },
});

function filled() {
  const database = Database.open(":memory:");
  database.value.exec("create table numbers (n integer)");
  const insert = database.value.prepare("insert into numbers values (?)");
  for (let n = 1; n <= 5; n++) insert.run(n);
  return database;
}

await check("rows are read to the end after their database was given back", () => {
  const database = filled();
  using rows = Rows.open(database, "select n from numbers order by n");
  const raw = database.value;
  equal([rows.value.rows.next().value.n, database.decrRef()], [1, false]);
  const rest = [];
  for (let step = rows.value.rows.next(); !step.done; step = rows.value.rows.next()) rest.push(step.value.n);
  equal(rest, [2, 3, 4, 5]);
  equal([rows.decrRef(), Database.stats.live, Rows.stats.live], [true, 0, 0]);
  refused(() => raw.prepare("select 1"), "ERR_INVALID_STATE");
});

await check("a database is closed once; sqlite itself would refuse the second", () => {
  using database = filled();
  const raw = database.value;
  equal(database.decrRef(), true);
  refused(() => database.decrRef(), "ERR_REFCOUNT");
  refused(() => raw.close(), "ERR_INVALID_STATE");
});

await check("a context closes databases and rows in the right order", () => {
  AutoMemory.run((memory) => {
    for (let i = 0; i < 10; i++) {
      const database = memory.use(filled());
      memory.open(Rows, database, "select n from numbers").value.rows.next();
      if (i % 2 === 0) database.decrRef();
    }
    equal([Database.stats.live, Rows.stats.live], [10, 10]);
  });
  equal([Database.stats.live, Rows.stats.live], [0, 0]);
});

await check("2,000 random operations leave open what sqlite itself says is open", () => {
  let state = 7;
  const random = (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
  const raws = [];
  const held = [];
  const isOpen = (raw) => {
    try {
      raw.prepare("select 1");
      return true;
    } catch {
      return false;
    }
  };
  for (let step = 0; step < 2_000; step++) {
    const action = random(5);
    const at = random(held.length || 1);
    const handle = held[at];
    if (handle === undefined || (action === 0 && held.length < 40)) {
      const database = filled();
      raws.push(database.value);
      held.push(database);
    } else if (action === 1 && handle.kind === "database") {
      const rows = Rows.open(handle, "select n from numbers");
      rows.value.rows.next();
      held.push(rows);
    } else if (action === 2 && held.length < 40) held.push(handle.dup());
    else {
      held[at] = held.at(-1);
      held.pop();
      handle.decrRef();
    }
    if (step % 100 === 0) equal(raws.filter(isOpen).length, Database.stats.live);
  }
  for (const handle of held) handle.decrRef();
  equal([raws.filter(isOpen).length, Database.stats.live, Rows.stats.live], [0, 0, 0]);
  equal(raws.length > 50, true);
});

done();
