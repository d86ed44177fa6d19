/**
 * The SDK against the program itself: `STAGEDOOR_BIN` names it. Without it these tests are skipped,
 * loudly; a job that means them sets it, and then a file that is not there is a failure.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request as ask } from "node:https";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, test, type TestContext } from "node:test";
import { promisify } from "node:util";

import {
  Facts,
  fetchCheckpoint,
  Guard,
  type Identity,
  ProblemError,
  readEntry,
  TokenError,
  UnreachableError,
  verifyIdentity,
  verifyProof,
  verifyToken,
} from "@stagedoor/sdk";

import { listen } from "./support.js";

const bin = process.env["STAGEDOOR_BIN"];
const skip = bin === undefined && "STAGEDOOR_BIN is not set: the program itself is NOT tested";
if (skip) console.error(`\n*** ${skip} ***\n`);
const run = promisify(execFile);
const PASSWORD = "a curtain, a lamp and a teapot";
const dirs: string[] = [];

after(() => {
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true });
});

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), "stagedoor-sdk-"));
  dirs.push(dir);
  return dir;
}

/** Starts the program and reads the document that says where it listens. */
async function start<T>(t: TestContext, words: string[], cwd: string): Promise<T> {
  const env = { ...process.env, TMPDIR: cwd };
  const child: ChildProcess = spawn(bin ?? "", words, { cwd, env, stdio: ["ignore", "pipe", "inherit"] });
  const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
  t.after(async () => {
    child.kill("SIGTERM");
    await gone;
  });
  const lines = createInterface({ input: child.stdout ?? process.stdin });
  const first = await Promise.race([
    new Promise<string>((resolve) => lines.once("line", resolve)),
    gone.then(() => Promise.reject(new Error("the program ended at once"))),
  ]);
  return JSON.parse(first) as T;
}

interface Told {
  status: number;
  text: string;
  json: unknown;
}

/** A client that believes one certificate, for itself alone. */
function client(base: string, ca: Buffer) {
  const agent = new Agent({ ca, keepAlive: false });
  return (method: string, path: string, body?: object, token?: string): Promise<Told> => {
    const headers: Record<string, string> = { accept: "application/json", origin: base };
    if (body) headers["content-type"] = "application/json";
    if (token !== undefined) headers["authorization"] = `Bearer ${token}`;
    return new Promise((resolve, reject) => {
      const request = ask(base + path, { method, headers, agent }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString("utf8");
          const json = /^[[{]/.test(text) ? (JSON.parse(text) as unknown) : null;
          resolve({ status: response.statusCode ?? 0, text, json });
        });
      });
      request.on("error", reject);
      request.end(body && JSON.stringify(body));
    });
  };
}

type Client = ReturnType<typeof client>;

/** Looks again until something is there; for what the house does by itself. */
async function eventually<T>(what: string, look: () => Promise<T | null>): Promise<T> {
  const end = Date.now() + 20_000;
  for (;;) {
    const found = await look();
    if (found !== null) return found;
    assert.ok(Date.now() < end, `${what} did not come`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Signs a person up and in, as the shop's app does. */
async function signIn(door: Client, email: string): Promise<string> {
  const up = await door("POST", "/v1/sign-up", { email, name: "Ada" });
  assert.equal(up.status, 202, up.text);
  const token = await eventually("the letter", async () => {
    const letters = (await door("GET", "/auth/dev/outbox.json")).json as { to: string; link: string }[];
    const letter = letters.find(({ to }) => to === email);
    return letter?.link?.split("token=")[1] ?? null;
  });
  assert.equal((await door("POST", "/v1/verify-email", { token, password: PASSWORD })).status, 204);
  const signed = await door("POST", "/v1/sign-in", { email, password: PASSWORD });
  assert.equal(signed.status, 200, signed.text);
  return (signed.json as { access_token: string }).access_token;
}

function findCertificate(dir: string): Buffer {
  const found = readdirSync(dir, { recursive: true, encoding: "utf8" });
  const file = found.find((name) => name.endsWith("self-signed.crt"));
  assert.ok(file, "the door made itself a certificate");
  return readFileSync(join(dir, file));
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test("the demo: tokens, its shop, its log", { skip }, async (t) => {
  const dir = folder();
  const words = ["demo", "--json", "--quiet", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0"];
  const { door: url } = await start<{ door: string }>(t, words, dir);
  const ca = findCertificate(dir);
  const door = client(url, ca);
  const access = await signIn(door, "ada@sdk.example");

  const options = { issuer: url, audience: "shop", jwksUrl: `${url}/.well-known/jwks.json` };
  const identity = await verifyToken(access, { ...options, ca });
  assert.deepEqual([identity.kind, identity.client], ["customer", "app"]);
  const me = await door("GET", "/api/me", undefined, access);
  assert.equal((me.json as Identity).account, identity.account, me.text);
  await assert.rejects(verifyToken(access, { ...options, ca, audience: "else" }), TokenError);
  const flipped = access.replace(/.$/, (last) => (last === "A" ? "Q" : "A"));
  await assert.rejects(verifyToken(flipped, { ...options, ca }), TokenError);
  // Without its certificate the door is not believed: verification is on.
  await assert.rejects(verifyToken(access, options), UnreachableError);

  const key = (await door("GET", "/v1/log/key")).text.trim();
  const checkpoint = await fetchCheckpoint({ url, ca, key });
  assert.ok(checkpoint.size > 0n);
  await assert.rejects(fetchCheckpoint({ url, key }), UnreachableError);
});

interface House {
  dir: string;
  url: string;
  door: Client;
  ca: Buffer;
  headerKey: string;
  tool(...words: string[]): Promise<Record<string, unknown>>;
}

/** A house of its own in front of a shop of ours. */
async function openHouse(t: TestContext, upstream: string): Promise<House> {
  const dir = folder();
  const [port, console_] = [await freePort(), await freePort()];
  const url = `https://localhost:${port}`;
  const tool = async (...words: string[]) => {
    const { stdout } = await run(bin ?? "", [...words, "--json"], { cwd: dir });
    return JSON.parse(stdout) as Record<string, unknown>;
  };
  const init = ["init", "--name", "Shop", "--url", url, "--upstream", upstream];
  await tool(...init, "--operator", "me@shop.example");
  const file = join(dir, "stagedoor.toml");
  const config = readFileSync(file, "utf8")
    .replace(/^public = .*$/m, `public = "127.0.0.1:${port}"`)
    .replace(/^publish_every_s = .*$/m, "publish_every_s = 1")
    .replace(/^console = .*$/m, `console = "127.0.0.1:${console_}"`);
  writeFileSync(file, config);
  await start(t, ["serve", "--json", "--quiet"], dir);
  const ca = findCertificate(dir);
  const headerKey = readFileSync(join(dir, "var", "header-shop.key"), "utf8");
  return { dir, url, ca, headerKey, tool, door: client(url, ca) };
}

test("a house in front of our own shop: headers, facts, proofs", { skip }, async (t) => {
  let guard: Guard | undefined;
  const raw: { method: string; path: string; headers: Record<string, string> }[] = [];
  const shop = await listen((request, response) => {
    const headers = { ...request.headers } as Record<string, string>;
    raw.push({ method: request.method ?? "", path: request.url ?? "", headers });
    guard?.http((known, answer) => answer.end(JSON.stringify(known.stagedoor)))(request, response);
  });
  t.after(() => shop.close());
  const house = await openHouse(t, shop.url);
  guard = new Guard({ keys: house.headerKey });
  const { door, ca, url } = house;
  const access = await signIn(door, "ada@sdk.example");

  await t.test("the door's headers are what the SDK wants", async () => {
    assert.equal((await door("GET", "/")).text, "null");
    const paths = ["/", "/a?b=c&d=%20%C3%BC", "/deep/er?x=it's&y[]=1", "/?", "/a~b;v=1?q=a+b"];
    for (const path of paths) {
      for (const method of ["GET", "POST"]) {
        const body = method === "POST" ? { some: "body" } : undefined;
        const told = await door(method, path, body, access);
        assert.equal(told.status, 200, `${method} ${path}: ${told.text}`);
        const identity = told.json as Identity;
        assert.match(identity.account, /^usr_/);
        assert.match(identity.session, /^ses_/);
        assert.deepEqual([identity.kind, identity.roles], ["customer", []]);
      }
    }
    // What was signed once is not believed again, nor for anything else.
    const last = raw.at(-1);
    assert.ok(last);
    assert.ok(verifyIdentity({ key: house.headerKey, ...last }));
    assert.throws(() => verifyIdentity({ key: house.headerKey, ...last }), /used before/);
    const forged = { key: house.headerKey, ...last, path: "/other" };
    assert.throws(() => verifyIdentity(forged), /not signed/);
    // Around the door, straight to the shop.
    const around = await fetch(shop.url, { headers: { "x-stagedoor-account": "usr_1" } });
    assert.equal(around.status, 401);
  });

  await t.test("facts are taken once, proved, and refused with reasons", async () => {
    const { account } = (await door("GET", "/", undefined, access)).json as Identity;
    const { key } = (await house.tool("service", "add", "shop backend")) as { key: string };
    const facts = new Facts({ url, ca, key });
    t.after(() => facts.close());
    const fields = { order: "10312", amount_minor: 4990, currency: "EUR" };
    const fact = { id: "order-10312", kind: "order.paid", account, at: new Date(), fields } as const;
    const taken = await facts.tell(fact);
    assert.match(taken.event, /^evt_/);
    assert.deepEqual(await facts.tell(fact), taken, "the same, now or before");
    const wrong = facts.tell({ ...fact, fields: { ...fields, amount_minor: 1 } });
    await assert.rejects(wrong, (error) => error instanceof ProblemError && error.status === 409);

    const settled = await Promise.allSettled([
      facts.tell({ id: "p-1", kind: "product.changed", fields: { product: "lamp", change: "stock" } }),
      facts.tell({ id: "n-1", kind: "no.such", fields: {} }),
      facts.tell({ ...fact, id: "n-2", account: "usr_none" }),
      facts.tell({ id: "p-2", kind: "product.changed", fields: { product: "pot", change: "made" } }),
    ]);
    const status = settled.map((one) => one.status === "rejected" && (one.reason as ProblemError).status);
    assert.deepEqual(status, [false, 422, 422, false]);

    const kinds = await facts.kinds();
    // The fields that the SDK's types name are those of the program.
    const built: Record<string, string[]> = {
      "order.paid": ["order", "amount_minor", "currency", "items?", "creator?", "code?", "stream?"],
      "order.refunded": ["order", "refund?", "amount_minor", "currency", "whole?", "reason?"],
      "product.changed": ["product", "change", "price_minor?", "currency?", "stock?", "seller?"],
      "chat.sent": ["message", "room", "text"],
    };
    for (const [name, wanted] of Object.entries(built)) {
      const field = kinds.find((kind) => kind.name === name)?.field ?? [];
      assert.deepEqual(field.map((one) => one.name + (one.optional ? "?" : "")), wanted, name);
    }
    const other = new Facts({ url, ca, key: `${key.slice(0, -1)}0`, patience: { tries: 1 } });
    t.after(() => other.close());
    await assert.rejects(other.tell(fact), (error) => {
      return error instanceof ProblemError && error.status === 401;
    });

    const vkey = (await door("GET", "/v1/log/key")).text;
    const proved = await eventually("the fact's leaf", async () => {
      const dir = join(house.dir, "proof");
      return house.tool("audit", "prove", taken.event, "--dir", dir).catch(() => null);
    });
    const file = (name: string) => readFileSync(join(house.dir, "proof", `${taken.event}${name}`));
    const [proof, entry] = [file(".tlog-proof"), file(".entry")];
    const proven = verifyProof({ proof, entry, key: vkey });
    assert.equal(proven.index, BigInt(proved["index"] as number));
    assert.equal(readEntry(entry)?.kind, "order.paid");
    entry[40] = (entry[40] ?? 0) ^ 1;
    assert.throws(() => verifyProof({ proof, entry, key: vkey }), /another root/);
    // strangers are shown the log at a pace of its own
    const checkpoint = await eventually("the published checkpoint", async () => {
      const shown = await fetchCheckpoint({ url, ca, key: vkey });
      return shown.size >= proven.checkpoint.size ? shown : null;
    });
    assert.equal(checkpoint.origin, proven.checkpoint.origin);
  });
});
