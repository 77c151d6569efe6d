import { execFile, execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompressSync } from "node:zlib";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Packed, packed } from "./support/consumer";

// The package as a user gets it: packed, unpacked into projects of their own, compiled and run there.

const root = join(import.meta.dirname, "..");
const bin = (name: string): string => join(root, "node_modules", ".bin", name);
const SECONDS = 1000;

interface Ran {
  readonly code: number;
  readonly output: string;
}

async function run(command: string, args: string[], cwd: string): Promise<Ran> {
  try {
    const { stdout, stderr } = await promisify(execFile)(command, args, { cwd, encoding: "utf8" });
    return { code: 0, output: stdout + stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, output: stdout + stderr };
  }
}

let library: Packed;

beforeAll(() => {
  library = packed();
}, 60 * SECONDS);

afterAll(() => library[Symbol.dispose]());

function fixture(name: string): string {
  return readFileSync(join(import.meta.dirname, "types", name), "utf8");
}

function config(options: object): string {
  return JSON.stringify({
    compilerOptions: {
      strict: true,
      skipLibCheck: false,
      noEmit: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      target: "es2022",
      module: "nodenext",
      moduleResolution: "nodenext",
      lib: ["es2022"],
      types: [],
      ...options,
    },
  });
}

describe("the declarations", () => {
  it.each([
    ["an ESM project", "module", "consumer.ts", {}, []],
    ["a CommonJS project", "commonjs", "consumer.ts", {}, []],
    ["a bundled project", "module", "consumer.ts", { module: "esnext", moduleResolution: "bundler" }, []],
    ["a project with the oldest lib", "module", "entries.ts", { target: "es2015", lib: ["es2015"] }, []],
    [
      "a project that resolves modules as node10",
      "commonjs",
      "entries.ts",
      { module: "commonjs", moduleResolution: "node10" },
      [],
    ],
    [
      "a project with esnext.disposable and DOM",
      "module",
      "using.ts",
      { lib: ["es2022", "esnext.disposable", "dom"] },
      [],
    ],
    ["a project with @types/node", "commonjs", "using.ts", { types: ["node"] }, ["@types/node", "undici-types"]],
    ["a project in which both copies meet", "commonjs", "agree.cts", {}, []],
  ] as const)(
    "compile in %s, with every declaration checked",
    async (_, type, file, options, types) => {
      const at = library.project(type, { [file]: fixture(file), "tsconfig.json": config(options) }, types);
      expect(await run(bin("tsc"), ["-p", "."], at)).toEqual({ code: 0, output: "" });
    },
    120 * SECONDS,
  );

  it(
    "are seen to fail: a wrong use does not compile",
    async () => {
      const wrong =
        'import { Handle } from "lastref";\nconst n: number = Handle.of("a", () => {}).value;\nexport { n };\n';
      const at = library.project("module", { "wrong.ts": wrong, "tsconfig.json": config({}) });
      const { code, output } = await run(bin("tsc"), ["-p", "."], at);
      expect(code).not.toBe(0);
      expect(output).toMatch(/^wrong\.ts\(2,7\): error TS2322/);
    },
    120 * SECONDS,
  );

  it("do not name private state, so that copies and versions stay assignable", () => {
    for (const file of ["index.d.ts", "index.d.cts"]) {
      const text = readFileSync(join(library.directory, "dist", file), "utf8");
      expect(text).not.toMatch(/HandleImpl|LoanImpl|\bCounted\b/);
    }
  });
});

describe("the tarball", () => {
  it("holds the built files and the papers, and nothing else", () => {
    const listed = execFileSync("tar", ["-tzf", library.tarball], { encoding: "utf8" }).trim().split("\n");
    const strangers = listed.filter(
      (name) => !/^package\/(dist\/[\w./-]+|(src|bench)\/[\w/]+\.(md|svg)|[A-Z]+(\.md)?|package\.json)$/.test(name),
    );
    expect(strangers).toEqual([]);
    expect(listed).toEqual(expect.arrayContaining(["package/dist/index.js", "package/dist/index.d.cts"]));
  });

  // Helpers in their place once made the CommonJS copy five times slower.
  it("has the language's own operators in its CommonJS copy as well", () => {
    const operators = (extension: string): number => {
      const dist = join(library.directory, "dist");
      const files = readdirSync(dist).filter((name) => name.endsWith(extension) && !name.startsWith("vitest."));
      return files.flatMap((name) => readFileSync(join(dist, name), "utf8").match(/\?\.(?!\d)|\?\?/g) ?? []).length;
    };
    expect(operators(".js")).toBeGreaterThan(100);
    expect(operators(".cjs")).toBe(operators(".js"));
  });

  it("has no runtime dependency", () => {
    const manifest = JSON.parse(readFileSync(join(library.directory, "package.json"), "utf8")) as object;
    expect(Object.keys(manifest)).not.toEqual(expect.arrayContaining(["dependencies"]));
    expect(Object.keys(manifest)).not.toEqual(expect.arrayContaining(["peerDependencies"]));
  });

  it(
    "passes publint",
    async () => {
      const { code, output } = await run(bin("publint"), [library.tarball, "--strict"], root);
      expect({ code, output }).toMatchObject({ code: 0, output: expect.stringContaining("All good!") });
    },
    60 * SECONDS,
  );

  it(
    "passes are-the-types-wrong",
    async () => {
      const { code, output } = await run(bin("attw"), [library.tarball, "--format", "ascii"], root);
      expect(output).toContain('"lastref/vitest"');
      expect({ code, output }).toMatchObject({ code: 0 });
    },
    60 * SECONDS,
  );

  it(
    "runs in ESM and in CommonJS",
    async () => {
      const body = (load: string) => `${load}
      const log = [];
      AutoMemory.run((memory) => { memory.use(Handle.of("a", (v) => log.push(v))); });
      const handle = Handle.of("b", (v) => log.push(v), { kind: "key", label: "b" });
      handle.decrRef();
      try { handle.decrRef() } catch (error) { log.push(error.name, error.code, error instanceof RefCountError); }
      console.log(log.join());`;
      const names = "{ AutoMemory, Handle, RefCountError }";
      const at = library.project("module", {
        "main.mjs": body(`import ${names} from "lastref";`),
        "main.cjs": body(`const ${names} = require("lastref");`),
      });
      for (const file of ["main.mjs", "main.cjs"]) {
        expect(await run(process.execPath, [file], at)).toEqual({
          code: 0,
          output: "a,b,RefCountError,ERR_REFCOUNT,true\n",
        });
      }
    },
    60 * SECONDS,
  );
});

describe("a bundle of the library and a program", () => {
  it(
    "names the program's lines where source maps are on",
    async () => {
      const at = library.project("module", {
        "main.js": `import { Handle } from "lastref";
          import { trackLeaks } from "lastref/leaks";
          trackLeaks();
          const key = Handle.of("a", () => {});
          function close() { key.decrRef(); }
          close();
          try { close(); } catch ({ message }) { console.log(message); }`,
      });
      const outfile = join(at, "out.mjs");
      const entryPoints = [join(at, "main.js")];
      await build({
        entryPoints,
        outfile,
        bundle: true,
        minify: true,
        sourcemap: true,
        format: "esm",
        target: "es2022",
      });
      const { output } = await run(process.execPath, ["--enable-source-maps", "out.mjs"], at);
      expect(output.split("\n").slice(1, 5)).toEqual([
        "  opened: main.js:4:30",
        "  given back first: close (main.js:5:34)",
        "      from main.js:6:11",
        "",
      ]);
      expect((await run(process.execPath, ["out.mjs"], at)).output).not.toContain("main.js");
    },
    60 * SECONDS,
  );
});

describe("the size", () => {
  async function bundled(code: string): Promise<{ text: string; brotli: number }> {
    const at = library.project("module", { "entry.js": code });
    const { outputFiles, warnings } = await build({
      entryPoints: [join(at, "entry.js")],
      bundle: true,
      minify: true,
      write: false,
      format: "esm",
      target: "es2022",
      logLevel: "silent",
    });
    expect(warnings).toEqual([]);
    const [file] = outputFiles;
    return { text: file?.text ?? "", brotli: brotliCompressSync(file?.contents ?? "").length };
  }

  // The aim is 3.5 kB; this keeps it from growing until that is reached.
  it("of Handle, AutoMemory and defineResource is at most 6.05 kB brotli", async () => {
    const { brotli } = await bundled('export { Handle, AutoMemory, defineResource } from "lastref";');
    expect(brotli).toBeLessThanOrEqual(6050);
  });

  it("counts only what is imported", async () => {
    const core = await bundled('export { Handle, AutoMemory, defineResource } from "lastref";');
    expect(core.text).not.toMatch(/asyncDispose.*disposeAsync/);
    const errors = await bundled('export { RefCountError } from "lastref";');
    expect(errors.brotli).toBeLessThan(core.brotli / 3);
  });
});
