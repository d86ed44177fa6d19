/**
 * The identity headers in a web framework: one guard for Express, Fastify (as a hook), Connect,
 * plain `node:http`, and handlers that take a `Request`. Deny by default: headers that are not the door's
 * end the request on open pages too, for such a request did not come through the door.
 */
import type { KeyObject } from "node:crypto";

import {
  type AccountKind,
  checkIdentity,
  type HeaderFields,
  type HeaderKey,
  type Identity,
  IdentityError,
  importKeys,
  LocalNonces,
  type NonceMemory,
} from "./identity.js";

declare global {
  // Express's own types are merged with this where they are installed.
  namespace Express {
    interface Request {
      /** Who asks; null where nobody is signed in. Undefined where no guard stands before. */
      stagedoor?: Identity | null;
    }
  }
}

/** What the guard needs. */
export interface GuardOptions {
  /** The upstream's key; several while they change. */
  keys: HeaderKey | readonly HeaderKey[];
  /** Where nonces are remembered. A memory of this guard where left out. */
  seen?: NonceMemory;
  /** Where a browser is sent to sign in instead of a bare 401. Default `/auth/sign-in`; or none. */
  signInPath?: string | null;
  /** Hears of each request whose headers are not believed: somebody goes around the door. */
  onForged?: (error: IdentityError, request: NodeRequest | Request) => void;
  /** Seconds since 1970; the system's clock where left out. */
  now?: () => number;
}

/** What is read of a request of Node's, Express's, Connect's or Fastify's. */
export interface NodeRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  /** Express and Fastify keep what came here, while they change `url`. */
  readonly originalUrl?: string | undefined;
  readonly headers: { readonly [name: string]: string | readonly string[] | undefined };
  stagedoor?: Identity | null;
}

/** What is used of a response of Node's, Express's or Connect's. */
export interface NodeResponse {
  statusCode: number;
  setHeader(name: string, value: string): unknown;
  end(body?: string): unknown;
}

/** What is used of Fastify's reply. */
export interface FastifyReply {
  code(status: number): unknown;
  header(name: string, value: string): unknown;
  send(body?: string): unknown;
}

/** Middleware of Express and Connect; as it stands also an `onRequest` hook of Fastify. */
export type Middleware = (
  request: NodeRequest,
  response: NodeResponse | FastifyReply,
  next: (error?: Error) => void,
) => void;

/** Who may go on. */
export interface Wanted {
  /** Somebody must be signed in. */
  session?: boolean;
  /** Somebody of one of these kinds must be signed in. */
  kinds?: readonly AccountKind[];
}

/** A request that was looked at. */
export type Known<R> = R & { stagedoor: Identity | null };

/** A refusal on its way out. */
interface Refusal {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** Tells the shop who asks. */
export class Guard {
  readonly #keys: readonly KeyObject[];
  readonly #seen: NonceMemory;
  readonly #signInPath: string | null;
  readonly #onForged: GuardOptions["onForged"];
  readonly #now: () => number;
  /** What was found, by request: a second middleware asks here, for a nonce counts once. */
  readonly #known = new WeakMap<object, Promise<Identity | null>>();

  /** @throws {TypeError} for keys that are none. */
  constructor(options: GuardOptions) {
    const keys = isList(options.keys) ? options.keys : [options.keys];
    this.#keys = importKeys(keys);
    this.#seen = options.seen ?? new LocalNonces();
    this.#signInPath = options.signInPath === undefined ? "/auth/sign-in" : options.signInPath;
    this.#onForged = options.onForged;
    this.#now = options.now ?? (() => Math.floor(Date.now() / 1000));
  }

  /** Sets `req.stagedoor`; everybody may go on but who brings headers that are not the door's. */
  identify(): Middleware {
    return this.#middleware({});
  }

  /** Only who is signed in may go on. */
  requireSession(): Middleware {
    return this.#middleware({ session: true });
  }

  /** Only who is signed in with an account of one of these kinds may go on. */
  requireKind(...kinds: readonly [AccountKind, ...AccountKind[]]): Middleware {
    return this.#middleware({ kinds });
  }

  /** A listener for `http.createServer`. */
  http<Q extends NodeRequest, S extends NodeResponse>(
    listener: (request: Known<Q>, response: S) => unknown,
    wanted: Wanted = {},
  ): (request: Q, response: S) => void {
    const middleware = this.#middleware(wanted);
    return (request, response) => {
      middleware(request, response, (error) => {
        if (error) write(response, unavailable());
        else listener(request as Known<Q>, response);
      });
    };
  }

  /**
   * A handler that takes a `Request`, as Next's route handlers, Hono or Deno have them. What stands
   * in `request.url` must be what the door asked for.
   */
  fetch<R extends Request, A extends unknown[]>(
    handler: (request: Known<R>, ...more: A) => Response | Promise<Response>,
    wanted: Wanted = {},
  ): (request: R, ...more: A) => Promise<Response> {
    return async (request, ...more) => {
      const url = new URL(request.url);
      const path = url.pathname + url.search;
      let refusal: Refusal | null;
      try {
        const identity = await this.#judge(request, request.method, path, request.headers);
        const value = { value: identity, configurable: true, enumerable: true };
        Object.defineProperty(request, "stagedoor", value);
        const page = wantsPage(request.method, request.headers.get("accept"));
        refusal = this.#refuse(identity, wanted, page ? path : null);
      } catch (error) {
        refusal = this.#forged(error, request);
      }
      if (!refusal) return handler(request as Known<R>, ...more);
      return new Response(refusal.body, { status: refusal.status, headers: refusal.headers });
    };
  }

  #middleware(wanted: Wanted): Middleware {
    return (request, response, next) => {
      const path = request.originalUrl ?? request.url ?? "";
      const method = request.method ?? "";
      const judged = this.#judge(request, method, path, request.headers).then(
        (identity) => {
          request.stagedoor = identity;
          const accept = request.headers["accept"];
          const page = wantsPage(method, typeof accept === "string" ? accept : null);
          return this.#refuse(identity, wanted, page ? path : null);
        },
        (error: unknown) => this.#forged(error, request),
      );
      // `next` runs outside the chain, so that an error of a handler is not taken for ours.
      judged.then(
        (refusal) => process.nextTick(refusal ? () => write(response, refusal) : () => next()),
        (error: unknown) => process.nextTick(() => next(asError(error))),
      );
    };
  }

  #judge(
    request: object,
    method: string,
    path: string,
    headers: HeaderFields,
  ): Promise<Identity | null> {
    // Fastify hands a wrapper around; what came stands below it.
    const key = "raw" in request && request.raw instanceof Object ? request.raw : request;
    let judged = this.#known.get(key);
    if (!judged) {
      judged = this.#check(method, path, headers);
      this.#known.set(key, judged);
    }
    return judged;
  }

  async #check(method: string, path: string, headers: HeaderFields): Promise<Identity | null> {
    const nowS = this.#now();
    const signed = checkIdentity(this.#keys, { method, path, headers }, nowS);
    if (!signed) return null;
    if (!(await this.#seen.claim(signed.nonce, signed.untilS, nowS))) {
      throw new IdentityError("replayed");
    }
    const { account, session, kind, roles } = signed;
    return { account, session, kind, roles };
  }

  /** Why somebody may not go on; null where they may. */
  #refuse(identity: Identity | null, wanted: Wanted, page: string | null): Refusal | null {
    if (!wanted.session && !wanted.kinds) return null;
    if (!identity) {
      if (page === null || this.#signInPath === null) {
        return problem(401, "shop.sign_in", "Sign in first.");
      }
      const location = `${this.#signInPath}?next=${encodeURIComponent(page)}`;
      return { status: 303, headers: { location, "cache-control": "no-store" }, body: "" };
    }
    if (wanted.kinds && !wanted.kinds.includes(identity.kind)) {
      return problem(403, "shop.kind", "Accounts of this kind may not do this.");
    }
    return null;
  }

  #forged(error: unknown, request: NodeRequest | Request): Refusal {
    if (!(error instanceof IdentityError)) throw error;
    this.#onForged?.(error, request);
    if (error.code === "memory_full") return unavailable();
    return problem(401, `shop.identity_${error.code}`, "Come in through the shop's own address.");
  }
}

function isList(keys: HeaderKey | readonly HeaderKey[]): keys is readonly HeaderKey[] {
  return Array.isArray(keys);
}

function wantsPage(method: string, accept: string | null): boolean {
  return (method === "GET" || method === "HEAD") && (accept?.includes("text/html") ?? false);
}

function problem(status: number, code: string, detail: string): Refusal {
  const title = status === 401 ? "Not signed in" : status === 403 ? "Not allowed" : "Not now";
  const type = `urn:stagedoor:problem:${code}`;
  const headers = { "content-type": "application/problem+json", "cache-control": "no-store" };
  return { status, headers, body: JSON.stringify({ type, title, status, code, detail }) };
}

function unavailable(): Refusal {
  return problem(503, "shop.unavailable", "Try again in a moment.");
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

function write(response: NodeResponse | FastifyReply, refusal: Refusal): void {
  const headers = Object.entries(refusal.headers);
  if ("send" in response && "code" in response) {
    response.code(refusal.status);
    for (const [name, value] of headers) response.header(name, value);
    response.send(refusal.body);
    return;
  }
  const plain = response as NodeResponse;
  plain.statusCode = refusal.status;
  for (const [name, value] of headers) plain.setHeader(name, value);
  plain.end(refusal.body);
}
