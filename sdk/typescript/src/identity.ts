/**
 * Who asks: the check of the `X-Stagedoor-…` headers that the edge puts on each request of somebody
 * who is signed in. They are believed only with the upstream's key, within 60 seconds, and once.
 *
 * The signature is HMAC-SHA256 over method, path with query, account, session, kind, roles, time
 * and nonce, each as its length in bytes (four bytes, big-endian) followed by its bytes.
 */
import { createHmac, createSecretKey, KeyObject, timingSafeEqual } from "node:crypto";

import { decodeBase64 } from "./bytes.js";

/** Seconds that the time in the headers may be away from ours. */
export const SKEW_MAX_S = 60;
/** The shortest key that is taken, bytes. */
const KEY_BYTES_MIN = 32;
/** Nonces that one memory holds: 1,600 requests a second of signed-in people, for two minutes. */
const NONCES_MAX = 200_000;

const PREFIX = "x-stagedoor-";
/** In the order of the signature. */
const SIGNED = ["account", "session", "kind", "roles", "time", "nonce"] as const;
type HeaderPart = (typeof SIGNED)[number] | "signature";

/** What sort of person has an account. */
export type AccountKind = "customer" | "influencer" | "wholesaler" | "staff";

const KINDS: ReadonlySet<string> = new Set<AccountKind>([
  "customer",
  "influencer",
  "wholesaler",
  "staff",
]);

/** Whether a word is a kind of account. */
export function isAccountKind(word: unknown): word is AccountKind {
  return typeof word === "string" && KINDS.has(word);
}

/** Who asks. */
export interface Identity {
  /** The account, `usr_…`. */
  readonly account: string;
  /** The session, `ses_…`. */
  readonly session: string;
  /** The kind of account. */
  readonly kind: AccountKind;
  /** Roles of staff; empty for everybody else. */
  readonly roles: readonly string[];
}

/** Why headers are not believed. */
export type IdentityFault =
  /** Some of the headers are there and others are not, or one is there twice. */
  | "incomplete"
  /** The signature is another: the request did not come through the edge as it stands. */
  | "signature"
  /** The time is more than 60 seconds away. */
  | "time"
  /** The same signed request came before. */
  | "replayed"
  /** The memory of nonces is full, so that a repeat could not be told: refused. */
  | "memory_full";

const FAULTS: Record<IdentityFault, string> = {
  incomplete: "some of the identity headers are missing, or one is there twice",
  signature: "the identity headers are not signed by the door",
  time: "the identity headers are too old, or the clocks are apart: set both by NTP",
  replayed: "the identity headers were used before",
  memory_full: "the memory of nonces is full: give it more room",
};

/** Headers that are not believed. Nothing secret is in it. */
export class IdentityError extends Error {
  override readonly name = "IdentityError";
  constructor(readonly code: IdentityFault) {
    super(FAULTS[code]);
  }
}

/** The key as the key file holds it: its text without the line end, or bytes. */
export type HeaderKey = string | Uint8Array | KeyObject;

/** A memory of nonces. Where several processes serve one shop, they should share one. */
export interface NonceMemory {
  /**
   * Remembers a nonce until `untilS` (seconds since 1970). True where it was not known: then the
   * request may go on. Must decide and remember in one step, as `SET … NX` does.
   */
  claim(nonce: string, untilS: number, nowS: number): boolean | Promise<boolean>;
}

/** A memory of nonces in this process, bounded: full, it refuses instead of forgetting. */
export class LocalNonces implements NonceMemory {
  /** By the second until which they are remembered. */
  readonly #buckets = new Map<number, Set<string>>();
  readonly #max: number;
  #held = 0;
  #sweptS = 0;

  /** @param max nonces that are held at most, about 100 bytes each. */
  constructor(max = NONCES_MAX) {
    if (!Number.isSafeInteger(max) || max < 1) throw new RangeError("max must be 1 or more");
    this.#max = max;
  }

  /** How many are held. */
  get size(): number {
    return this.#held;
  }

  claim(nonce: string, untilS: number, nowS: number): boolean {
    this.#sweep(nowS);
    // The time is signed together with the nonce: the same nonce has the same end.
    const bucket = this.#buckets.get(untilS);
    if (bucket?.has(nonce)) return false;
    if (this.#held >= this.#max) throw new IdentityError("memory_full");
    if (bucket) bucket.add(nonce);
    else this.#buckets.set(untilS, new Set([nonce]));
    this.#held += 1;
    return true;
  }

  #sweep(nowS: number): void {
    if (nowS === this.#sweptS) return;
    this.#sweptS = nowS;
    for (const [untilS, bucket] of this.#buckets) {
      if (untilS >= nowS) continue;
      this.#held -= bucket.size;
      this.#buckets.delete(untilS);
    }
  }
}

/** Header fields as Node, a framework or a `Headers` object has them. */
export type HeaderFields =
  | { get(name: string): string | null }
  | { readonly [name: string]: string | readonly string[] | undefined };

/** What is checked. */
export interface IdentityRequest {
  /** The method, as it came. */
  method: string;
  /** The path with its query, byte for byte as it came: `req.originalUrl` or `req.url` in Node. */
  path: string;
  /** The header fields. */
  headers: HeaderFields;
  /** Seconds since 1970; the system's clock where left out. */
  now?: number;
}

/** Keys, and the memory of nonces. */
export interface IdentityOptions extends IdentityRequest {
  /** The upstream's key. */
  key?: HeaderKey;
  /** Several keys while they change: any of them may have signed. */
  keys?: readonly HeaderKey[];
  /**
   * Where nonces are remembered; one memory of this process where left out. `null` remembers
   * nothing: only where the caller does so by {@link SignedIdentity.nonce}.
   */
  seen?: LocalNonces | null;
}

/** Who asks, and what is to be remembered so that it counts once. */
export interface SignedIdentity extends Identity {
  /** To be refused when it comes again. */
  readonly nonce: string;
  /** Until when the headers can be believed, seconds since 1970. */
  readonly untilS: number;
}

const everyone = new LocalNonces();

/** Keys as the HMAC takes them. */
export function importKeys(keys: readonly HeaderKey[]): KeyObject[] {
  if (keys.length === 0 || keys.length > 8) throw new TypeError("1 to 8 keys are wanted");
  return keys.map((key) => {
    const object = key instanceof KeyObject ? key : createSecretKey(secretBytes(key));
    if (object.type !== "secret" || (object.symmetricKeySize ?? 0) < KEY_BYTES_MIN) {
      throw new TypeError(`a header key has ${KEY_BYTES_MIN} bytes or more`);
    }
    return object;
  });
}

function secretBytes(key: string | Uint8Array): Uint8Array {
  const bytes = typeof key === "string" ? Buffer.from(key.replace(/[\r\n]+$/, "")) : key;
  if (bytes.length === 0) throw new TypeError("a header key is empty");
  return bytes;
}

/**
 * Who asks; null where nobody is signed in.
 *
 * @throws {IdentityError} where the headers are not the door's: refuse the request.
 * @throws {TypeError} for keys that are none.
 */
export function verifyIdentity(options: IdentityOptions): SignedIdentity | null {
  const given = options.keys ?? [];
  const keys = importKeys(options.key === undefined ? given : [options.key, ...given]);
  const nowS = options.now ?? Math.floor(Date.now() / 1000);
  const identity = checkIdentity(keys, options, nowS);
  const seen = options.seen === undefined ? everyone : options.seen;
  if (identity && seen && !seen.claim(identity.nonce, identity.untilS, nowS)) {
    throw new IdentityError("replayed");
  }
  return identity;
}

/** All but the memory of nonces. */
export function checkIdentity(
  keys: readonly KeyObject[],
  request: IdentityRequest,
  nowS: number,
): SignedIdentity | null {
  const values = readHeaders(request.headers);
  if (!values) return null;
  const { account, session, kind, roles, time, nonce, signature } = values;
  const framed = frame([request.method, request.path, account, session, kind, roles, time, nonce]);
  const claimed = decodeBase64(signature, "base64url");
  if (!framed || claimed?.length !== 32) throw new IdentityError("signature");
  let believed = false;
  for (const key of keys) {
    // Every key is tried, so that the time taken does not tell which one signed.
    const wanted = createHmac("sha256", key).update(framed).digest();
    believed = timingSafeEqual(wanted, claimed) || believed;
  }
  if (!believed || !isAccountKind(kind)) throw new IdentityError("signature");
  if (!/^[0-9a-f]{32}$/.test(nonce)) throw new IdentityError("signature");
  const second = /^[0-9]{1,12}$/.test(time) ? Number(time) : Number.NaN;
  // Written so that no number at all is refused too.
  if (!(Math.abs(second - nowS) <= SKEW_MAX_S)) throw new IdentityError("time");
  const names = roles.split(",").filter((role) => role !== "");
  return { account, session, kind, roles: names, nonce, untilS: second + SKEW_MAX_S };
}

type Values = Record<HeaderPart, string>;

/** The headers, each exactly once; null where there is none at all. */
function readHeaders(headers: HeaderFields): Values | null {
  const found: Partial<Values> = {};
  let twice = false;
  const take = (name: string, value: string) => {
    const part = name.slice(PREFIX.length) as HeaderPart;
    twice ||= found[part] !== undefined;
    found[part] = value;
  };
  const parts: readonly HeaderPart[] = [...SIGNED, "signature"];
  if (typeof headers.get === "function") {
    for (const part of parts) {
      const value = headers.get(PREFIX + part);
      if (typeof value === "string") take(PREFIX + part, value);
    }
  } else {
    for (const [name, value] of Object.entries(headers)) {
      const lower = name.toLowerCase();
      if (!lower.startsWith(PREFIX) || value === undefined) continue;
      if (!parts.includes(lower.slice(PREFIX.length) as HeaderPart)) continue;
      for (const one of typeof value === "string" ? [value] : (value as readonly string[])) {
        take(lower, one);
      }
    }
  }
  if (!twice && Object.keys(found).length === 0) return null;
  if (twice || parts.some((part) => found[part] === undefined)) {
    throw new IdentityError("incomplete");
  }
  return found as Values;
}

/** Parts, each behind its length; null where a text cannot have come in an HTTP head. */
function frame(parts: readonly string[]): Buffer | null {
  const chunks: Buffer[] = [];
  for (const part of parts) {
    // Node gives the bytes of a head as Latin-1: a letter above is from elsewhere.
    if (/[^\u0000-\u00ff]/.test(part)) return null;
    const length = Buffer.alloc(4);
    length.writeUInt32BE(part.length);
    chunks.push(length, Buffer.from(part, "latin1"));
  }
  return Buffer.concat(chunks);
}
