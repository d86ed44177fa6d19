/**
 * One bounded HTTPS request: its own certificate authorities where wanted, a time limit for the
 * whole exchange, a limit for the answer, no redirects. `fetch` cannot be told a `ca`, and turning
 * verification off for a process is never the answer.
 */
import { request as plainRequest } from "node:http";
import { Agent, request as tlsRequest } from "node:https";

/** How the door is reached. */
export interface Reach {
  /** Where: `https://shop.example`. `http:` only on this host, or with {@link allowPlaintext}. */
  url: string | URL;
  /** Certificate authorities (PEM) to believe instead of the system's. */
  ca?: string | Buffer | readonly (string | Buffer)[];
  /** Milliseconds for one exchange. Default 10,000. */
  timeoutMs?: number;
  /** Lets secrets travel without TLS to another host. Default false. */
  allowPlaintext?: boolean;
}

/** An answer. */
export interface Answer {
  status: number;
  body: Buffer;
  retryAfter: string | undefined;
}

/** What is asked. */
export interface Ask {
  method: "GET" | "POST";
  path: string;
  headers?: Record<string, string>;
  body?: string;
  answerMaxBytes: number;
}

/** There was no whole answer: whether the request was taken is not known. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";
}

/** A door that can be asked. */
export class Door {
  readonly #base: URL;
  readonly #timeoutMs: number;
  readonly #agent: Agent | undefined;

  /** @throws {TypeError} for an address that is none, or that would send secrets in the clear. */
  constructor(reach: Reach) {
    this.#base = new URL(reach.url);
    this.#timeoutMs = reach.timeoutMs ?? 10_000;
    const { protocol, hostname } = this.#base;
    if (protocol === "https:") {
      const ca = reach.ca === undefined ? {} : { ca: reach.ca as string | (string | Buffer)[] };
      this.#agent = new Agent({ keepAlive: true, maxSockets: 4, ...ca });
    } else if (protocol !== "http:" || !(isThisHost(hostname) || reach.allowPlaintext)) {
      throw new TypeError("url must be https:, or http: on this host");
    }
  }

  /** Lets idle connections go. */
  close(): void {
    this.#agent?.destroy();
  }

  /** @throws {UnreachableError} where no whole answer came in time. */
  ask(ask: Ask): Promise<Answer> {
    const url = new URL(this.#base.pathname.replace(/\/$/, "") + ask.path, this.#base);
    const headers: Record<string, string> = { accept: "application/json", ...ask.headers };
    if (ask.body !== undefined) headers["content-length"] = `${Buffer.byteLength(ask.body)}`;
    const signal = AbortSignal.timeout(this.#timeoutMs);
    const options = { method: ask.method, headers, signal };
    return new Promise((resolve, reject) => {
      const fail = (error: Error) => {
        const late = signal.aborted ? `no answer in ${this.#timeoutMs} ms` : error.message;
        reject(new UnreachableError(`${url.host}: ${late}`, { cause: error }));
      };
      const request = this.#agent
        ? tlsRequest(url, { ...options, agent: this.#agent })
        : plainRequest(url, options);
      request.on("error", fail);
      request.on("response", (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("error", fail);
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > ask.answerMaxBytes) {
            response.destroy(new Error(`the answer is above ${ask.answerMaxBytes} bytes`));
          } else {
            chunks.push(chunk);
          }
        });
        response.on("end", () => {
          const retryAfter = response.headers["retry-after"];
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks), retryAfter });
        });
      });
      request.end(ask.body);
    });
  }
}

function isThisHost(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d{1,3}){3}$/.test(hostname);
}
