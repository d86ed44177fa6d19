/**
 * The audit log from outside: fetches checkpoints, and verifies offline that an entry is in the log
 * (C2SP tlog-proof, RFC 6962 section 2.1). Written after the definitions, and not after the
 * program's own verifier, so that the two can be held against each other.
 */
import { createHash } from "node:crypto";

import { decodeBase64, decodeUtf8 } from "./bytes.js";
import { Door, type Reach } from "./http.js";
import {
  type Checkpoint,
  parseHash,
  parseNumber,
  ProofError,
  type Trust,
  verifyCheckpoint,
} from "./note.js";
import { readProblem } from "./problem.js";

const HEADER = "c2sp.org/tlog-proof@v1";
/** Hashes in the longest proof: a tree has fewer than 2^63 leaves. */
const PROOF_MAX = 63;
const PROOF_BYTES_MAX = 512 * 1024;
const NOTE_BYTES_MAX = 262_144;

/**
 * Fetches the latest checkpoint and verifies it. Keep {@link FetchedCheckpoint.note} where the
 * shop's server cannot write: it is what later histories are held against.
 *
 * @throws {ProofError} {@link ProblemError} {@link UnreachableError}
 */
export async function fetchCheckpoint(options: Reach & Trust): Promise<FetchedCheckpoint> {
  const door = new Door(options);
  try {
    const ask = { method: "GET", path: "/v1/log/checkpoint", answerMaxBytes: NOTE_BYTES_MAX };
    const answer = await door.ask({ ...ask, method: "GET", headers: { accept: "text/plain" } });
    if (answer.status !== 200) {
      throw readProblem(answer.status, answer.body.toString("utf8"), answer.retryAfter);
    }
    const checkpoint = verifyCheckpoint(answer.body, options);
    return { ...checkpoint, note: answer.body.toString("utf8") };
  } finally {
    door.close();
  }
}

/** A verified checkpoint, with the text to keep. */
export interface FetchedCheckpoint extends Checkpoint {
  readonly note: string;
}

/** What a proof is checked with. */
export interface ProofOptions extends Trust {
  /** The `.tlog-proof` file that `stagedoor audit prove` wrote. */
  proof: string | Uint8Array;
  /** The `.entry` file beside it. */
  entry: Uint8Array;
}

/** An entry that is in the log. */
export interface Proven {
  /** Its place, from 0. */
  readonly index: bigint;
  /** The checkpoint that proves it. */
  readonly checkpoint: Checkpoint;
}

/**
 * Verifies offline that an entry is in the log.
 *
 * @throws {ProofError} with what is wrong.
 */
export function verifyProof(options: ProofOptions): Proven {
  const { index, hashes, note } = readProof(options.proof);
  const checkpoint = verifyCheckpoint(note, options);
  verifyInclusion(leafHash(options.entry), index, checkpoint.size, hashes, checkpoint.root);
  return { index, checkpoint };
}

/**
 * Verifies that a leaf is number `index` of a tree of `size` leaves.
 *
 * @throws {ProofError} where the hashes lead to another root, or are too few or too many.
 */
export function verifyInclusion(
  leaf: Uint8Array,
  index: bigint,
  size: bigint,
  hashes: readonly Uint8Array[],
  root: Uint8Array,
): void {
  if (index < 0n || index >= size) throw new ProofError("the tree has no such leaf");
  if (hashes.length > PROOF_MAX) throw new ProofError("the proof has too many hashes");
  const left = hashes.slice();
  const found = rootOf(leaf, index, size, left);
  if (left.length > 0) throw new ProofError("the proof has too many hashes");
  if (!found.equals(root)) throw new ProofError("the proof leads to another root");
}

/**
 * The root by PATH(m, D[n]) of RFC 6962 section 2.1.1, from the top down: the last hash is that of
 * the half of the tree where the leaf is not.
 */
function rootOf(leaf: Uint8Array, index: bigint, size: bigint, hashes: Uint8Array[]): Buffer {
  if (size === 1n) return Buffer.from(leaf);
  const other = hashes.pop();
  if (!other) throw new ProofError("the proof has too few hashes");
  // The largest power of two that is smaller than the size.
  const half = 1n << BigInt((size - 1n).toString(2).length - 1);
  return index < half
    ? nodeHash(rootOf(leaf, index, half, hashes), other)
    : nodeHash(other, rootOf(leaf, index - half, size - half, hashes));
}

/** The hash of an entry (RFC 6962 section 2.1). */
export function leafHash(entry: Uint8Array): Buffer {
  return createHash("sha256").update(Buffer.of(0)).update(entry).digest();
}

/** The hash of two subtrees (RFC 6962 section 2.1). */
export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  return createHash("sha256").update(Buffer.of(1)).update(left).update(right).digest();
}

function readProof(file: string | Uint8Array): { index: bigint; hashes: Buffer[]; note: string } {
  const bytes = typeof file === "string" ? Buffer.from(file) : file;
  const text = bytes.length > PROOF_BYTES_MAX ? null : decodeUtf8(bytes);
  const blank = text?.indexOf("\n\n") ?? -1;
  if (text === null || blank < 0) throw new ProofError("the proof is too long, cut off, or none");
  const [header, ...lines] = text.slice(0, blank).split("\n");
  if (header !== HEADER) throw new ProofError(`the proof is no ${HEADER}`);
  if (lines[0]?.startsWith("extra ")) {
    // Nothing vouches for it: it is only looked at for its form.
    if (!decodeBase64(lines[0].slice(6), "base64")) throw new ProofError("the proof is malformed");
    lines.shift();
  }
  const index = /^index (.*)$/.exec(lines.shift() ?? "")?.[1];
  const number = index === undefined ? null : parseNumber(index);
  if (number === null || lines.length > PROOF_MAX) throw new ProofError("the proof is malformed");
  const hashes = lines.map((line) => {
    const hash = parseHash(line);
    if (!hash) throw new ProofError("the proof is malformed");
    return hash;
  });
  return { index: number, hashes, note: text.slice(blank + 2) };
}

/** What an entry says in the clear. Ids in it are pseudonyms of the log. */
export interface Entry {
  /** The event's id, 16 bytes. */
  readonly id: Buffer;
  /** When it happened, microseconds since 1970. */
  readonly at: bigint;
  /** What happened: `identity.login_failed`. */
  readonly kind: string;
  /** What sort of actor did it. */
  readonly actor: string;
}

/** Reads the head of an entry; null where its form is another (the proof holds all the same). */
export function readEntry(entry: Uint8Array): Entry | null {
  const bytes = Buffer.from(entry);
  if (bytes.length < 33 || bytes[0] !== 1) return null;
  let place = 25;
  const text = () => {
    if (place + 4 > bytes.length) return null;
    const end = place + 4 + bytes.readUInt32BE(place);
    const part = end > bytes.length ? null : decodeUtf8(bytes.subarray(place + 4, end));
    place = end;
    return part;
  };
  const kind = text();
  const actor = kind === null ? null : text();
  if (kind === null || actor === null) return null;
  return { id: bytes.subarray(1, 17), at: bytes.readBigInt64BE(17), kind, actor };
}
