// After npm install --package-lock-only: node .ci/complete-lock.mjs
//
// A registry that holds no packages for other platforms leaves them out of package-lock.json, and npm ci then refuses the
// file everywhere. This adds them by name, version and platform; npm fetches one only on the platform it is for.
// It takes out "libc", which npm 10 removes and npm 11 does not miss, so that npm install leaves the file as it is.
import { readFileSync, writeFileSync } from "node:fs";

const FILE = "package-lock.json";
const SYSTEMS = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"];
const PROCESSORS = ["arm", "arm64", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "wasm32", "x64"];

const lock = JSON.parse(readFileSync(FILE, "utf8"));
const { packages } = lock;

/** Whether the package at `from` finds `name`, in its own directory or in one above. */
function found(from, name) {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf("/node_modules/")))) {
    if (packages[at === "" ? `node_modules/${name}` : `${at}/node_modules/${name}`]) return true;
    if (at === "") return false;
  }
}

const added = [];
for (const [path, { optionalDependencies = {}, dev }] of Object.entries(packages)) {
  for (const [name, version] of Object.entries(optionalDependencies)) {
    const words = name.split(/[/-]/);
    const os = SYSTEMS.find((system) => words.includes(system));
    if (found(path, name) || os === undefined || !/^\d/.test(version)) continue;
    const cpu = PROCESSORS.find((processor) => words.includes(processor));
    packages[`node_modules/${name}`] = {
      version,
      ...(cpu && { cpu: [cpu] }),
      ...(dev && { dev }),
      optional: true,
      os: [os],
    };
    added.push(name);
  }
}
for (const entry of Object.values(packages)) delete entry.libc;
const [root, ...rest] = Object.entries(packages);
lock.packages = Object.fromEntries([root, ...rest.sort(([a], [b]) => a.localeCompare(b, "en"))]);
writeFileSync(FILE, `${JSON.stringify(lock, null, 2)}\n`);
console.log(added.length === 0 ? `${FILE} is complete` : `${FILE}: added ${added.join(", ")}`);
