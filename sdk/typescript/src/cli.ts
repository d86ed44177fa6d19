#!/usr/bin/env node
/**
 * `stagedoor-verify`: verifies checkpoints and proofs on any machine, without the program.
 * Exit code 0 where it holds, 2 where it does not, 1 where it could not be asked.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { type Checkpoint, ProofError, verifyCheckpoint } from "./note.js";
import { fetchCheckpoint, readEntry, verifyProof } from "./log.js";

const USAGE = `Verifies Stagedoor's audit log from outside.

  stagedoor-verify checkpoint --key VKEY [--ca FILE] https://shop.example
  stagedoor-verify checkpoint --key VKEY FILE
  stagedoor-verify proof --key VKEY --entry FILE FILE.tlog-proof

--key       the log's public key, had by a way of its own; again for each older key
--witness   the key of a witness that must have signed; may be given several times
--quorum    how many of the witnesses must have; default: all of them
--ca        a certificate (PEM) to believe instead of the system's
`;

class UsageError extends Error {}

async function run(): Promise<string> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      key: { type: "string", multiple: true },
      witness: { type: "string", multiple: true },
      quorum: { type: "string" },
      entry: { type: "string" },
      ca: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return USAGE;
  const [what, subject] = positionals;
  if (positionals.length !== 2 || subject === undefined || !values.key) throw new UsageError();
  const witnesses = values.witness ?? [];
  // What is no number is refused with the rest of what is trusted.
  const quorum = values.quorum === undefined ? witnesses.length : Number(values.quorum);
  const trust = { key: values.key, witnesses, quorum };
  if (what === "proof" && values.entry !== undefined) {
    const entry = readFileSync(values.entry);
    const { index, checkpoint } = verifyProof({ ...trust, entry, proof: readFileSync(subject) });
    const told = readEntry(entry);
    const words = told
      ? `${told.kind} at ${new Date(Number(told.at / 1000n)).toISOString()}`
      : "an entry of an unknown form";
    return `It holds: leaf ${index} of ${checkpoint.size} is ${words}.\n`;
  }
  if (what !== "checkpoint") throw new UsageError();
  if (!/^https?:\/\//.test(subject)) return say(verifyCheckpoint(readFileSync(subject), trust));
  const ca = values.ca === undefined ? {} : { ca: readFileSync(values.ca) };
  const { note, ...checkpoint } = await fetchCheckpoint({ ...trust, ...ca, url: subject });
  // The note alone on standard output, so that `> kept.checkpoint` keeps it.
  process.stderr.write(say(checkpoint));
  return note;
}

function say({ origin, size, root, witnesses }: Checkpoint): string {
  const names = witnesses.length === 0 ? "" : `, witnesses: ${witnesses.map((w) => w.name)}`;
  return `It holds: ${origin} has ${size} leaves, root ${root.toString("base64")}${names}.\n`;
}

try {
  process.stdout.write(await run());
} catch (error) {
  const { code } = error as { code?: string };
  const usage = error instanceof UsageError || code?.startsWith("ERR_PARSE");
  const proof = error instanceof ProofError;
  const words = error instanceof Error ? error.message : String(error);
  process.stderr.write(usage ? `${words}\n${USAGE}` : `${proof ? "WRONG: " : ""}${words}\n`);
  process.exitCode = proof ? 2 : 1;
}
