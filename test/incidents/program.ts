import { show } from "./incident";
import { incidents } from "./index";

// npm run incident -- <name>: shows one of the real bugs; without a name it lists them.

/** Returns the exit code: 0 when the bug did damage and the cure does none. */
async function main(name: string | undefined): Promise<number> {
  const incident = name === undefined ? undefined : incidents[name];
  if (incident === undefined) {
    if (name !== undefined) console.log(`There is no incident "${name}".\n`);
    console.log("npm run incident -- <name>\n");
    for (const [known, { title }] of Object.entries(incidents)) console.log(`  ${known.padEnd(24)} ${title}`);
    return name === undefined ? 0 : 1;
  }
  try {
    const { damage, cured } = await show(incident, (line) => console.log(line));
    return damage > 0 && cured === 0 ? 0 : 1;
  } catch (error) {
    console.log(String(error));
    return 1;
  }
}

process.exitCode = await main(process.argv[2]);
