/**
 * Brings facts to the door: tries again with growing pauses what may be taken later, and finds the
 * facts of a refused batch that are wrong, so that one bad fact never holds the good ones back.
 * Trying again is harmless, for the door takes each id once.
 */
import { isObject, parseObject } from "./bytes.js";
import type { Fact, FactKind, TakenFact } from "./fact.js";
import { type Answer, Door, type Reach, UnreachableError } from "./http.js";
import { ProblemError, readProblem } from "./problem.js";

/** Facts of one batch. */
export const BATCH_MAX = 500;
/** Bytes of one batch: 1 MiB, less what stands around the facts. */
export const BATCH_BYTES_MAX = 1024 * 1024 - 64;
/** The door's answer to a full batch is below this, bytes. */
const ANSWER_MAX_BYTES = 1024 * 1024;

/** How often, and with what pauses, a batch is tried. */
export interface Patience {
  /** Tries of one batch. Default 8: about a minute. */
  tries?: number;
  /** The longest first pause, ms. Default 250; it doubles, and a random part of it is waited. */
  pauseMs?: number;
  /** The longest pause, ms; also of what the door asks for by `Retry-After`. Default 30,000. */
  pauseMaxMs?: number;
}

/** How facts reach the door. */
export interface CarrierOptions extends Reach {
  /** The service's key: `stagedoor service add`. */
  key: string;
  patience?: Patience;
}

/** A fact as it travels: the same bytes each time, so that a repeat is known as one. */
export interface Packed {
  readonly id: string;
  readonly json: string;
  readonly bytes: number;
}

/** What became of a fact. */
export type Outcome = { readonly taken: TakenFact } | { readonly refused: ProblemError };

/** @throws {TypeError} {@link RangeError} for what the door would never take. */
export function pack(fact: Fact<string>): Packed {
  const idBytes = typeof fact.id === "string" ? Buffer.byteLength(fact.id) : 0;
  if (idBytes < 1 || idBytes > 128) throw new TypeError("a fact's id has 1 to 128 bytes");
  const at = fact.at instanceof Date ? fact.at.toISOString() : fact.at;
  const json = JSON.stringify({ ...fact, at });
  const bytes = Buffer.byteLength(json);
  if (bytes > 64 * 1024) throw new RangeError("a fact has 65,536 bytes at most");
  return { id: fact.id, json, bytes };
}

/** The longest beginning of a queue that may be one batch: no id twice, within the limits. */
export function batchOf<T extends Packed>(queue: readonly T[]): T[] {
  const ids = new Set<string>();
  let bytes = 0;
  for (const [place, one] of queue.entries()) {
    bytes += one.bytes + 1;
    if (place >= BATCH_MAX || bytes > BATCH_BYTES_MAX || ids.has(one.id)) {
      return queue.slice(0, place);
    }
    ids.add(one.id);
  }
  return queue.slice();
}

/** Brings batches. */
export class Carrier {
  readonly #door: Door;
  readonly #authorization: string;
  readonly #tries: number;
  readonly #pauseMs: number;
  readonly #pauseMaxMs: number;

  constructor(options: CarrierOptions) {
    if (!/^[\x21-\x7e]+$/.test(options.key)) throw new TypeError("the service's key is none");
    this.#door = new Door(options);
    this.#authorization = `Bearer ${options.key}`;
    this.#tries = Math.max(1, options.patience?.tries ?? 8);
    this.#pauseMs = options.patience?.pauseMs ?? 250;
    this.#pauseMaxMs = options.patience?.pauseMaxMs ?? 30_000;
  }

  close(): void {
    this.#door.close();
  }

  /** The kinds of fact that the door takes. */
  async kinds(): Promise<FactKind[]> {
    const answer = await this.#patiently(() => this.#ask("GET", "/v1/facts/kinds"));
    const kinds = parseObject(answer.body.toString("utf8"))?.["kinds"];
    if (!Array.isArray(kinds)) throw new UnreachableError("the door answered with no kinds");
    return kinds as FactKind[];
  }

  /**
   * Brings one batch (see {@link batchOf}); the outcomes are in its order.
   *
   * @throws {ProblemError} {@link UnreachableError} where it is not about single facts: the key,
   * or the door. Then some may have been taken, and all may be sent again.
   */
  async bring(batch: readonly Packed[]): Promise<Outcome[]> {
    const outcomes = new Map<Packed, Outcome>();
    const todo: Packed[][] = [batch.slice()];
    // Each round settles a fact or halves a batch: it ends.
    for (let left = todo.shift(); left; left = todo.shift()) {
      if (left.length === 0) continue;
      try {
        for (const [fact, taken] of await this.#post(left)) outcomes.set(fact, { taken });
      } catch (error) {
        if (!(error instanceof ProblemError) || !isAboutFacts(error)) throw error;
        const refused = blame(error, left);
        for (const [fact, why] of refused) outcomes.set(fact, { refused: why });
        const rest = left.filter((fact) => !refused.has(fact));
        // Where none is named, halves find it; what is first stays first.
        const middle = refused.size > 0 ? rest.length : Math.ceil(rest.length / 2);
        todo.unshift(rest.slice(0, middle), rest.slice(middle));
      }
    }
    return batch.flatMap((fact) => outcomes.get(fact) ?? []);
  }

  async #post(batch: readonly Packed[]): Promise<[Packed, TakenFact][]> {
    const body = `{"facts":[${batch.map((fact) => fact.json).join(",")}]}`;
    const answer = await this.#patiently(() => this.#ask("POST", "/v1/facts", body));
    const told = parseObject(answer.body.toString("utf8"))?.["facts"];
    const facts: unknown[] = Array.isArray(told) ? told : [];
    return batch.map((fact, place) => {
      const one = facts[place];
      // Only the door's own word is taken for it: what it does not name is sent again.
      if (!isTaken(one) || one.id !== fact.id) {
        throw new UnreachableError("the door answered with something else than the facts it took");
      }
      return [fact, one];
    });
  }

  async #ask(method: "GET" | "POST", path: string, body?: string): Promise<Answer> {
    const headers: Record<string, string> = { authorization: this.#authorization };
    if (body !== undefined) headers["content-type"] = "application/json";
    const what = { method, path, headers, answerMaxBytes: ANSWER_MAX_BYTES };
    const answer = await this.#door.ask(body === undefined ? what : { ...what, body });
    if (answer.status === 200) return answer;
    throw readProblem(answer.status, answer.body.toString("utf8"), answer.retryAfter);
  }

  async #patiently<T>(attempt: () => Promise<T>): Promise<T> {
    for (let tried = 1; ; tried += 1) {
      try {
        return await attempt();
      } catch (error) {
        const again =
          error instanceof UnreachableError || (error instanceof ProblemError && error.retryable);
        if (!again || tried >= this.#tries) throw error;
        const asked = error instanceof ProblemError ? (error.retryAfterS ?? 0) * 1000 : 0;
        await pause(this.pauseFor(tried, asked));
      }
    }
  }

  /** The pause after the `tried`-th try, ms: random, so that many clients do not come together. */
  pauseFor(tried: number, askedMs = 0): number {
    const most = Math.min(this.#pauseMaxMs, this.#pauseMs * 2 ** Math.min(tried - 1, 20));
    return Math.min(this.#pauseMaxMs, askedMs) + Math.random() * most;
  }
}

/** Whether a refusal is about what was sent, and not about the key, the address or the door. */
function isAboutFacts(error: ProblemError): boolean {
  return error.status === 409 || error.status === 413 || error.status === 422;
}

/** The facts that a refusal is about, each with its own fields; none where it does not say. */
function blame(error: ProblemError, batch: readonly Packed[]): Map<Packed, ProblemError> {
  const named = new Map<Packed, { field: string; detail: string }[]>();
  for (const one of error.errors) {
    const [start, place] = /^facts\[([0-9]{1,3})\]/.exec(one.field) ?? [];
    const fact = place === undefined ? undefined : batch[Number(place)];
    if (!fact || start === undefined) continue;
    const wrong = named.get(fact) ?? [];
    wrong.push({ field: `fact${one.field.slice(start.length)}`, detail: one.detail });
    named.set(fact, wrong);
  }
  const only = batch[0];
  if (named.size === 0 && batch.length === 1 && only) return new Map([[only, error]]);
  return new Map(
    [...named].map(([fact, errors]) => [fact, new ProblemError({ ...fields(error), errors })]),
  );
}

function fields({ type, title, status, code, detail, errors, request_id }: ProblemError) {
  const id = request_id === undefined ? {} : { request_id };
  return { type, title, status, code, detail, errors, ...id };
}

function isTaken(value: unknown): value is TakenFact {
  return isObject(value) && typeof value["id"] === "string" && typeof value["event"] === "string";
}

/** Waits. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
