/**
 * Session tokens, checked without asking the door: EdDSA JWTs of type `at+jwt` (RFC 9068, RFC 8037)
 * against the published keys. A token lives for five minutes at most; whether its session was ended
 * since then only the door knows, so what must not be late goes through the door.
 */
import { createPublicKey, type KeyObject, verify } from "node:crypto";

import { decodeBase64, decodeUtf8, isObject, parseObject } from "./bytes.js";
import { Door, type Reach } from "./http.js";
import { type Identity, isAccountKind } from "./identity.js";

/** The longest token that is looked at, letters. */
const TOKEN_MAX = 8_192;
/** Clocks may be apart by so much where a token has just begun, seconds. */
const LEEWAY_S = 5;
/** A token that says it lives longer was not made for this, seconds. */
const LIFE_MAX_S = 600;
/** Keys of one set. */
const KEYS_MAX = 64;
/** How often an unknown key id, or a set that cannot be had, makes us ask: seconds. */
const REFETCH_S = 60;
/** How soon we ask again where there is no set at all, seconds. */
const RETRY_S = 5;
/** When a set is asked for anew, seconds. */
const FRESH_S = 600;
/** How long an old set serves where no new one can be had, seconds. */
const STALE_S = 3_600;

/** Why a token is not believed. */
export type TokenFault =
  /** No JWT of the door's form. */
  | "form"
  /** Another algorithm or type. */
  | "algorithm"
  /** No published key has its id. */
  | "key"
  | "signature"
  | "issuer"
  | "audience"
  /** Claims that are missing or make no sense. */
  | "claims"
  | "expired";

/** A token that is not believed. Neither the token nor a part of it is in the message. */
export class TokenError extends Error {
  override readonly name = "TokenError";
  constructor(readonly code: TokenFault) {
    super(`the token is not believed: ${code}`);
  }
}

/** A set of public keys (RFC 7517). */
export interface Jwks {
  readonly keys: readonly object[];
}

/** Whose tokens are believed. */
export interface TokenOptions {
  /** `iss`, exactly: the shop's public address. */
  issuer: string;
  /** What `aud` must name: `identity.token.audience`, `shop` where nothing was configured. */
  audience: string;
  /** Where the keys are published: `https://shop.example/.well-known/jwks.json`. */
  jwksUrl?: string;
  /** The keys themselves, instead of {@link jwksUrl}. */
  jwks?: Jwks;
  /** Certificate authorities (PEM) to believe for {@link jwksUrl}. */
  ca?: NonNullable<Reach["ca"]>;
  /** Seconds since 1970; the system's clock where left out. */
  now?: () => number;
}

/** Whom a token speaks for. */
export interface TokenIdentity extends Identity {
  /** `browser`, `app` or `console`. */
  readonly client: string;
  /** When it was signed, seconds since 1970. */
  readonly issuedAt: number;
  /** When it ends, seconds since 1970. */
  readonly expiresAt: number;
  /** When the person proved who they are, seconds since 1970; 0 where it does not say. */
  readonly authTime: number;
}

/** Checks tokens of one issuer, and keeps its keys. */
export class TokenVerifier {
  readonly #options: TokenOptions;
  readonly #source: KeySource;

  /** @throws {TypeError} where issuer, audience or keys are missing. */
  constructor(options: TokenOptions) {
    if (!options.issuer || !options.audience) throw new TypeError("issuer and audience are wanted");
    if ((options.jwksUrl === undefined) === (options.jwks === undefined)) {
      throw new TypeError("either jwksUrl or jwks is wanted");
    }
    this.#options = options;
    this.#source = new KeySource(options);
  }

  /**
   * @throws {TokenError} where the token is not believed.
   * @throws {UnreachableError} where the keys cannot be had.
   */
  async verify(token: string): Promise<TokenIdentity> {
    const nowS = this.#options.now?.() ?? Math.floor(Date.now() / 1000);
    const { kid, claims, signed, signature } = split(token);
    // What costs nothing is looked at first: a foreign token makes nobody fetch keys.
    const identity = readClaims(claims, this.#options, nowS);
    const key = await this.#source.find(kid, nowS);
    if (!key) throw new TokenError("key");
    if (!verify(null, Buffer.from(signed), key, signature)) throw new TokenError("signature");
    return identity;
  }
}

const verifiers = new Map<string, TokenVerifier>();

/**
 * Checks one token. The keys of a `jwksUrl` are kept from call to call.
 *
 * @throws {TokenError} where the token is not believed.
 */
export function verifyToken(token: string, options: TokenOptions): Promise<TokenIdentity> {
  return verifierOf(options).verify(token);
}

function verifierOf(options: TokenOptions): TokenVerifier {
  const { jwksUrl, issuer, audience, ca, now } = options;
  if (jwksUrl === undefined || now) return new TokenVerifier(options);
  const name = JSON.stringify([jwksUrl, issuer, audience, ca ?? null]);
  let verifier = verifiers.get(name);
  if (!verifier) {
    verifier = new TokenVerifier(options);
    // A program has one or two of them; more is a mistake that must not grow without end.
    if (verifiers.size >= 16) verifiers.clear();
    verifiers.set(name, verifier);
  }
  return verifier;
}

interface Parts {
  kid: string;
  claims: Record<string, unknown>;
  signed: string;
  signature: Buffer;
}

function split(token: string): Parts {
  if (typeof token !== "string" || token.length > TOKEN_MAX) throw new TokenError("form");
  const [header, claims, signature, ...more] = token.split(".");
  if (header === undefined || claims === undefined || signature === undefined || more.length > 0) {
    throw new TokenError("form");
  }
  const { alg, typ, kid, crit } = object(header);
  // `crit` names extensions that must be understood (RFC 7515 section 4.1.11): we know none.
  if (alg !== "EdDSA" || typeof typ !== "string" || crit !== undefined) {
    throw new TokenError("algorithm");
  }
  if (typ.toLowerCase() !== "at+jwt") throw new TokenError("algorithm");
  if (typeof kid !== "string" || kid === "" || kid.length > 128) throw new TokenError("key");
  const bytes = decodeBase64(signature, "base64url");
  if (bytes?.length !== 64) throw new TokenError("form");
  return { kid, claims: object(claims), signed: `${header}.${claims}`, signature: bytes };
}

function object(part: string): Record<string, unknown> {
  const bytes = decodeBase64(part, "base64url");
  const text = bytes && decodeUtf8(bytes);
  const value = text === null ? null : parseObject(text);
  if (!value) throw new TokenError("form");
  return value;
}

function readClaims(
  claims: Record<string, unknown>,
  options: TokenOptions,
  nowS: number,
): TokenIdentity {
  const { iss, aud, sub, sid, kind, roles, iat, exp, nbf, client_id, auth_time } = claims;
  if (iss !== options.issuer) throw new TokenError("issuer");
  const audiences: unknown[] = Array.isArray(aud) ? aud : [aud];
  if (!audiences.includes(options.audience)) throw new TokenError("audience");
  if (!isSecond(iat) || !isSecond(exp)) throw new TokenError("claims");
  if (exp <= iat || exp - iat > LIFE_MAX_S || iat > nowS + LEEWAY_S) throw new TokenError("claims");
  if (nbf !== undefined && !(isSecond(nbf) && nbf <= nowS + LEEWAY_S)) {
    throw new TokenError("claims");
  }
  if (exp <= nowS) throw new TokenError("expired");
  const names: unknown = roles ?? [];
  if (!isId(sub, "usr_") || !isId(sid, "ses_") || !isAccountKind(kind) || !isTexts(names)) {
    throw new TokenError("claims");
  }
  return {
    account: sub,
    session: sid,
    kind,
    roles: names,
    client: typeof client_id === "string" ? client_id : "",
    issuedAt: iat,
    expiresAt: exp,
    authTime: isSecond(auth_time) ? auth_time : 0,
  };
}

function isSecond(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

function isId(value: unknown, prefix: string): value is string {
  return typeof value === "string" && value.startsWith(prefix) && value.length <= 64;
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}

/** The keys of a set by their ids; what is no Ed25519 key is left out. */
function importSet(set: unknown): Map<string, KeyObject> {
  const listed: unknown = isObject(set) ? set["keys"] : undefined;
  if (!Array.isArray(listed)) throw new TypeError("the key set is none");
  const keys = new Map<string, KeyObject>();
  for (const jwk of listed.slice(0, KEYS_MAX) as unknown[]) {
    if (!isObject(jwk)) continue;
    const { kty, crv, alg, use, kid, x } = jwk;
    const ours = kty === "OKP" && crv === "Ed25519" && (alg === undefined || alg === "EdDSA");
    if (!ours || (use !== undefined && use !== "sig")) continue;
    if (typeof kid !== "string" || typeof x !== "string") continue;
    if (decodeBase64(x, "base64url")?.length !== 32) continue;
    keys.set(kid, createPublicKey({ key: { kty, crv, x }, format: "jwk" }));
  }
  return keys;
}

/** Where keys come from, with what was had of it. */
class KeySource {
  readonly #door: Door | null;
  readonly #path: string;
  #keys: Map<string, KeyObject>;
  #fetchedS = Number.NEGATIVE_INFINITY;
  #askedS = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | null = null;

  constructor(options: TokenOptions) {
    if (options.jwksUrl === undefined) {
      this.#keys = importSet(options.jwks);
      this.#door = null;
      this.#path = "";
      return;
    }
    const url = new URL(options.jwksUrl);
    this.#keys = new Map();
    this.#path = url.pathname + url.search;
    const ca = options.ca === undefined ? {} : { ca: options.ca };
    this.#door = new Door({ url: url.origin, timeoutMs: 5_000, ...ca });
  }

  async find(kid: string, nowS: number): Promise<KeyObject | undefined> {
    const door = this.#door;
    if (!door) return this.#keys.get(kid);
    const age = nowS - this.#fetchedS;
    if (age > STALE_S) this.#keys = new Map();
    const wanted = age > FRESH_S || !this.#keys.has(kid);
    if (this.#asking && wanted) await this.#asking;
    else if (wanted && nowS - this.#askedS >= REFETCH_S) {
      this.#askedS = nowS;
      this.#asking = this.#fetch(door, nowS).finally(() => {
        this.#asking = null;
      });
      await this.#asking;
    }
    return this.#keys.get(kid);
  }

  async #fetch(door: Door, nowS: number): Promise<void> {
    try {
      const ask = { method: "GET", path: this.#path, answerMaxBytes: 65_536 } as const;
      const answer = await door.ask(ask);
      if (answer.status !== 200) throw new TypeError(`the key set: HTTP ${answer.status}`);
      this.#keys = importSet(parseObject(answer.body.toString("utf8")));
      this.#fetchedS = nowS;
    } catch (error) {
      // The old set serves on for an hour; without one, whoever waits must hear why.
      if (this.#keys.size > 0) return;
      this.#askedS = nowS - REFETCH_S + RETRY_S;
      throw error;
    }
  }
}
