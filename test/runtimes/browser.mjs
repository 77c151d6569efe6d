// A headless Chromium that loads the installed package from a page on loopback, without a bundler.
import { createReadStream, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
};
const MINUTE = 60_000;
// Scripts of the page's own origin only, no eval: what a careful site allows.
const POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' 'sha256-HASH'";

async function sha256(text) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Buffer.from(digest).toString("base64");
}

/** Maps the package's entries to the files that `import` gets. */
function importMap(project) {
  const { name, exports } = JSON.parse(readFileSync(join(project, "node_modules/lastref/package.json"), "utf8"));
  const entries = Object.entries(exports).flatMap(([path, target]) =>
    target?.import?.default === undefined
      ? []
      : [[path.replace(".", name), `/node_modules/${name}/${target.import.default.slice(2)}`]],
  );
  return JSON.stringify({ imports: Object.fromEntries(entries) });
}

async function serve(project) {
  const map = importMap(project);
  const page = `<!doctype html><title>lastref</title><script type="importmap">${map}</script>`;
  const policy = POLICY.replace("HASH", await sha256(map));
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url, "http://localhost").pathname);
    if (path === "/") {
      response.writeHead(200, { "content-type": TYPES[".html"], "content-security-policy": policy }).end(page);
      return;
    }
    const file = join(project, path);
    const type = TYPES[extname(file)];
    if (type === undefined || statSync(file, { throwIfNoEntry: false })?.isFile() !== true) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "content-type": type });
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

/** A program that hangs is a failure, as it is on every other runtime. */
async function within(ms, program, ended) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${program} has not ended within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([ended, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Starts the browser; each program gets a page, and with it a realm, of its own. */
export async function startBrowser(executablePath, project) {
  const { chromium } = await import("playwright-core");
  const server = await serve(project);
  let browser;
  try {
    browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--js-flags=--expose-gc"] });
  } catch (error) {
    server.close();
    throw error;
  }
  const context = await browser.newContext();
  const address = `http://127.0.0.1:${server.address().port}/`;
  const run = async (program) => {
    const page = await context.newPage();
    const output = [];
    page.on("console", (message) => output.push(message.text()));
    page.on("pageerror", (error) => output.push(String(error)));
    try {
      await page.goto(address);
      await within(
        MINUTE,
        program,
        page.evaluate((url) => import(url), `/${program}`),
      );
      return output.join("\n");
    } catch (error) {
      throw Object.assign(error, { stdout: output.join("\n"), stderr: `\n${error}` });
    } finally {
      await page.close();
    }
  };
  return {
    name: `Chromium ${browser.version()}`,
    // A program with the syntax is loaded only where the browser's own parser takes it.
    has: await features(context),
    run,
    stop: async () => {
      await browser.close();
      server.close();
    },
  };
}

/** What the browser has: eval is forbidden on the page, so a blank page is asked. */
async function features(context) {
  const page = await context.newPage();
  try {
    return await page.evaluate(() => {
      const has = typeof DisposableStack === "function" ? ["DisposableStack"] : [];
      try {
        new Function("{ using nothing = null; }");
        has.push("using");
      } catch {}
      return has;
    });
  } finally {
    await page.close();
  }
}
