/** What several tests need: signed requests, small servers, a clock that stands. */
import { createHmac, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";

export const KEY = "stagedoor test vector key, 32 bytes or more";
export const NOW = 1_795_487_140;

export interface Signed {
  method?: string;
  path?: string;
  account?: string;
  session?: string;
  kind?: string;
  roles?: string;
  time?: number;
  nonce?: string;
  key?: string | Uint8Array;
}

/** The headers as the door writes them. */
export function signedHeaders(with_: Signed = {}): Record<string, string> {
  const { method = "GET", path = "/", key = KEY, time = NOW } = with_;
  const { account = "usr_01jd0000000000000000000000", session = "ses_01jd0000000000000000000001" } =
    with_;
  const { kind = "customer", roles = "", nonce = randomBytes(16).toString("hex") } = with_;
  const hmac = createHmac("sha256", key);
  for (const part of [method, path, account, session, kind, roles, `${time}`, nonce]) {
    const bytes = Buffer.from(part, "latin1");
    hmac.update(Buffer.of(0, 0, bytes.length >> 8, bytes.length & 255)).update(bytes);
  }
  return {
    "x-stagedoor-account": account,
    "x-stagedoor-session": session,
    "x-stagedoor-kind": kind,
    "x-stagedoor-roles": roles,
    "x-stagedoor-time": `${time}`,
    "x-stagedoor-nonce": nonce,
    "x-stagedoor-signature": hmac.digest("base64url"),
  };
}

/** A server on a free port of this host. */
export async function listen(
  listener: RequestListener,
): Promise<{ url: string; port: number; close(): Promise<void> }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { url: `http://127.0.0.1:${port}`, port, close };
}

export async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

/** A promise with its ends outside. */
export function gate(): { passed: Promise<void>; open(): void } {
  let open = () => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open };
}
