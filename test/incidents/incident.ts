/** One of the real bugs this library was made for, as a program. */
export interface Incident {
  readonly title: string;
  /** What the number counts that is wrong. */
  readonly damaged: string;
  /** The bug as it happened, without the library. */
  bug(say: Say): Promise<number>;
  /** The same mistake with the library: the error or report it gives. */
  told(say: Say): Promise<string>;
  /** The code as it should be. */
  cure(say: Say): Promise<number>;
}

export type Say = (line: string) => void;

export interface Outcome {
  readonly damage: number;
  readonly said: string;
  readonly cured: number;
}

/** Runs the three parts, and prints them. */
export async function show(incident: Incident, say: Say): Promise<Outcome> {
  const indented: Say = (line) => say(`  ${line}`);
  say(incident.title);
  say("\n1. The bug, without lastref");
  const damage = await incident.bug(indented);
  say(`  => ${incident.damaged}: ${damage}`);
  say("\n2. What lastref says");
  const said = await incident.told(indented);
  for (const line of said.split("\n")) say(`  | ${line}`);
  say("\n3. The cure");
  const cured = await incident.cure(indented);
  say(`  => ${incident.damaged}: ${cured}`);
  return { damage, said, cured };
}

export function messageOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return `${(error as Error).name}: ${(error as Error).message}`;
  }
  return "nothing was refused";
}

export async function rejectionOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return `${(error as Error).name}: ${(error as Error).message}`;
  }
  return "nothing was refused";
}
