/**
 * Refusals as the door tells them: RFC 9457 documents, here as one error class, so that a caller
 * decides by `status` and `code` and never by words.
 */
import { isObject, parseObject } from "./bytes.js";

/** One wrong field of a request. */
export interface FieldError {
  /** The field, as a path (`facts[0].fields.currency`). */
  readonly field: string;
  /** What is wrong and how to mend it. */
  readonly detail: string;
}

/** The document (RFC 9457) as the door writes it. */
export interface Problem {
  /** `urn:stagedoor:problem:` and the code. */
  readonly type: string;
  /** What sort of problem it is, for a person. */
  readonly title: string;
  /** The HTTP status. */
  readonly status: number;
  /** A stable name for programs, `room.what`. */
  readonly code: string;
  /** What is wrong here and how to mend it, for a person. */
  readonly detail: string;
  /** The wrong fields. */
  readonly errors: readonly FieldError[];
  /** Names the request in the door's log. */
  readonly request_id?: string;
}

/** A refusal. */
export class ProblemError extends Error implements Problem {
  override readonly name = "ProblemError";
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly errors: readonly FieldError[];
  declare readonly request_id?: string;
  /** Seconds to wait before asking again, where the door said so. */
  declare readonly retryAfterS?: number;

  constructor(problem: Problem, retryAfterS?: number) {
    const fields = problem.errors.slice(0, 3).map((one) => `${one.field} ${one.detail}`);
    super([`${problem.status} ${problem.code}: ${problem.detail}`, ...fields].join("; "));
    this.type = problem.type;
    this.title = problem.title;
    this.status = problem.status;
    this.code = problem.code;
    this.detail = problem.detail;
    this.errors = problem.errors;
    if (problem.request_id !== undefined) this.request_id = problem.request_id;
    if (retryAfterS !== undefined) this.retryAfterS = retryAfterS;
  }

  /** Whether the same request may be taken later. */
  get retryable(): boolean {
    return this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

/** Reads a refusal; whatever stands in its body, something sensible comes out. */
export function readProblem(status: number, body: string, retryAfter?: string): ProblemError {
  const told = parseObject(body) ?? {};
  const text = (name: string, otherwise: string) => {
    const value = told[name];
    return typeof value === "string" ? value : otherwise;
  };
  const list: unknown[] = Array.isArray(told["errors"]) ? told["errors"] : [];
  const errors = list.flatMap((one) => {
    if (!isObject(one)) return [];
    const { field, detail } = one;
    return typeof field === "string" && typeof detail === "string" ? [{ field, detail }] : [];
  });
  const requestId = told["request_id"];
  const problem: Problem = {
    type: text("type", "about:blank"),
    title: text("title", `HTTP ${status}`),
    status,
    code: text("code", `http.${status}`),
    detail: text("detail", "no problem document came with it"),
    errors,
    ...(typeof requestId === "string" ? { request_id: requestId } : {}),
  };
  const waitS = retryAfter !== undefined && /^[0-9]{1,6}$/.test(retryAfter);
  return new ProblemError(problem, waitS ? Number(retryAfter) : undefined);
}
