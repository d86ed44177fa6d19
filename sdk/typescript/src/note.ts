/**
 * Signed notes and checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature), read from the
 * specifications and not from the program that writes them: what signs and what verifies should not
 * share a mistake. Text counts only after a trusted key's signature over it was checked.
 */
import { createHash, createPublicKey, type KeyObject, verify } from "node:crypto";

import { decodeBase64, decodeUtf8 } from "./bytes.js";

/** Bytes in the largest note. */
const NOTE_BYTES_MAX = 262_144;
/** Signature lines in a note. */
const SIGNATURES_MAX = 64;
/** Bytes in the longest name of a key or a log. */
const NAME_BYTES_MAX = 255;
/** Sizes of trees and times are below 2^63. */
const NUMBER_MAX = 2n ** 63n - 1n;

/** Type bytes of signed-note: Ed25519 over the text, and over a time and the text. */
const ED25519 = 1;
const COSIGNER = 4;

/** What was given does not prove what it should. */
export class ProofError extends Error {
  override readonly name = "ProofError";
}

function wrong(what: string): never {
  throw new ProofError(what);
}

/** A public key with its name and use. */
export interface VerifierKey {
  readonly name: string;
  /** The first four bytes of SHA-256(name, newline, type, key). */
  readonly id: Buffer;
  /** Whether it is a witness's key (`0x04`). */
  readonly witness: boolean;
  readonly key: KeyObject;
}

/**
 * Reads a vkey: `name+keyid+base64(type, key)`.
 *
 * @throws {ProofError} for any other form, or an id that is not the key's.
 */
export function parseVkey(vkey: string): VerifierKey {
  const [name, id, ...rest] = vkey.trim().split("+");
  const bytes = decodeBase64(rest.join("+"), "base64");
  if (name === undefined || !isName(name) || bytes?.length !== 33) wrong("the key is no vkey");
  const type = bytes[0];
  if (type !== ED25519 && type !== COSIGNER) wrong("the key is of an unknown type");
  const whole = createHash("sha256").update(`${name}\n`).update(bytes).digest();
  const own = whole.subarray(0, 4);
  if (own.toString("hex") !== id) wrong("the key's id is not the key's");
  const x = bytes.subarray(1).toString("base64url");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  return { name, id: own, witness: type === COSIGNER, key };
}

function isName(name: string): boolean {
  const bytes = Buffer.byteLength(name);
  return bytes >= 1 && bytes <= NAME_BYTES_MAX && !/[\p{White_Space}\p{Cc}+]/u.test(name);
}

/** Whom to believe. */
export interface Trust {
  /** The log's vkey; several, of one name, after its key was changed. Had by a way of its own. */
  key: string | readonly string[];
  /** Vkeys of witnesses. */
  witnesses?: readonly string[];
  /** How many of the witnesses must have signed. Default: all of them. */
  quorum?: number;
}

/** A checkpoint that was verified. */
export interface Checkpoint {
  /** The log's name. */
  readonly origin: string;
  /** Leaves of the tree. */
  readonly size: bigint;
  /** The tree's root hash, 32 bytes. */
  readonly root: Buffer;
  /** Witnesses that signed, with their times in seconds since 1970. */
  readonly witnesses: readonly { readonly name: string; readonly time: bigint }[];
}

interface Line {
  name: string;
  id: Buffer;
  signature: Buffer;
}

/**
 * Verifies a signed checkpoint.
 *
 * @throws {ProofError} for its form, its signatures, another log, too few witnesses.
 */
export function verifyCheckpoint(note: string | Uint8Array, trust: Trust): Checkpoint {
  const { logs, witnesses, quorum } = readTrust(trust);
  const { text, lines } = splitNote(note);
  const signed = new Map<VerifierKey, bigint>();
  for (const line of lines) {
    const claims = (key: VerifierKey) => key.name === line.name && key.id.equals(line.id);
    const key = [...logs, ...witnesses].find(claims);
    // Lines of unknown keys say nothing; a bad one of a known key spoils the note.
    if (key) signed.set(key, checkLine(key, text, line));
  }
  if (!logs.some((key) => signed.has(key))) wrong("the log's own signature is missing");
  const seen = witnesses.flatMap((key) => {
    const time = signed.get(key);
    return time === undefined ? [] : [{ name: key.name, time }];
  });
  if (seen.length < quorum) wrong(`${seen.length} witnesses signed, ${quorum} are wanted`);
  const checkpoint = readCheckpoint(text);
  if (checkpoint.origin !== logs[0]?.name) wrong("the checkpoint is of another log");
  return { ...checkpoint, witnesses: seen };
}

function readTrust(trust: Trust) {
  const logs = (typeof trust.key === "string" ? [trust.key] : trust.key).map(parseVkey);
  const witnesses = (trust.witnesses ?? []).map(parseVkey);
  const quorum = trust.quorum ?? witnesses.length;
  if (logs.length === 0) wrong("no key of the log is trusted");
  if (logs.some((key) => key.witness || key.name !== logs[0]?.name)) {
    wrong("the log's keys must be of one name, and no witness's");
  }
  if (witnesses.some((key) => !key.witness)) wrong("a witness's key is none");
  const all = [...logs, ...witnesses].map(({ key }) => key.export({ format: "jwk" }).x);
  if (new Set(all).size !== all.length) wrong("one key would count twice");
  if (!Number.isSafeInteger(quorum) || quorum < 0 || quorum > witnesses.length) {
    wrong("the quorum is more than the witnesses");
  }
  return { logs, witnesses, quorum };
}

/** Checks a signature of a known key; its time, or 0 for the log's own. */
function checkLine(key: VerifierKey, text: string, { signature }: Line): bigint {
  let time = 0n;
  let message = text;
  let bytes = signature;
  if (key.witness) {
    if (signature.length !== 72) wrong(`the signature of ${key.name} has another length`);
    time = signature.readBigUInt64BE();
    if (time > NUMBER_MAX) wrong(`the signature of ${key.name} has no time`);
    message = `cosignature/v1\ntime ${time}\n${text}`;
    bytes = signature.subarray(8);
  }
  if (bytes.length !== 64 || !verify(null, Buffer.from(message), key.key, bytes)) {
    wrong(`the signature of ${key.name} is wrong`);
  }
  return time;
}

/** Text and signature lines of a note; nothing of it is verified yet. */
function splitNote(note: string | Uint8Array): { text: string; lines: Line[] } {
  const bytes = typeof note === "string" ? Buffer.from(note) : note;
  if (bytes.length > NOTE_BYTES_MAX) wrong("the note is too long");
  const all = decodeUtf8(bytes);
  if (all === null) wrong("the note is no UTF-8");
  const blank = all.lastIndexOf("\n\n");
  if (blank < 0 || !all.endsWith("\n")) wrong("the note is cut off, or none");
  const text = all.slice(0, blank + 1);
  if (/[\u0000-\u0009\u000b-\u001f]/.test(text)) wrong("the note has control characters");
  const rows = all.slice(blank + 2, -1).split("\n");
  if (rows.length > SIGNATURES_MAX) wrong("the note has too many signatures");
  return { text, lines: rows.map(readLine) };
}

function readLine(row: string): Line {
  const [, name, encoded] = /^\u2014 ([^ ]+) ([^ ]+)$/.exec(row) ?? [];
  const bytes = encoded === undefined ? null : decodeBase64(encoded, "base64");
  if (name === undefined || !isName(name) || !bytes || bytes.length < 5) {
    wrong("a signature line is malformed");
  }
  return { name, id: bytes.subarray(0, 4), signature: bytes.subarray(4) };
}

/** Origin, size and root out of a note's text. */
function readCheckpoint(text: string): Pick<Checkpoint, "origin" | "size" | "root"> {
  const [origin, sizeText, rootText, ...extensions] = text.slice(0, -1).split("\n");
  if (!origin || Buffer.byteLength(origin) > NAME_BYTES_MAX || /\p{Cc}/u.test(origin)) {
    wrong("the checkpoint has no origin");
  }
  const size = sizeText === undefined ? null : parseNumber(sizeText);
  const root = rootText === undefined ? null : parseHash(rootText);
  if (size === null || root === null || extensions.includes("")) {
    wrong("the checkpoint is malformed");
  }
  return { origin, size, root };
}

/** A plain decimal number below 2^63; null for any other spelling. */
export function parseNumber(text: string): bigint | null {
  if (!/^(0|[1-9][0-9]{0,18})$/.test(text)) return null;
  const number = BigInt(text);
  return number <= NUMBER_MAX ? number : null;
}

/** A hash of 32 bytes in base64; null for anything else. */
export function parseHash(text: string): Buffer | null {
  const bytes = decodeBase64(text, "base64");
  return bytes?.length === 32 ? bytes : null;
}
