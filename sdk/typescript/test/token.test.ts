import assert from "node:assert/strict";
import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import { test } from "node:test";

import { TokenError, type TokenOptions, TokenVerifier, verifyToken } from "@stagedoor/sdk";

import { listen, NOW } from "./support.js";

const pair = generateKeyPairSync("ed25519");
const other = generateKeyPairSync("ed25519");

function jwk(keys: typeof pair, kid: string, more: object = {}): object {
  const { x } = keys.publicKey.export({ format: "jwk" });
  return { kty: "OKP", crv: "Ed25519", alg: "EdDSA", use: "sig", kid, x, ...more };
}

const HEADER = { alg: "EdDSA", typ: "at+jwt", kid: "k1" };
const CLAIMS = {
  iss: "https://shop.example",
  sub: "usr_01jd0000000000000000000000",
  aud: "shop",
  iat: NOW - 10,
  exp: NOW + 290,
  jti: "req_1",
  client_id: "app",
  sid: "ses_01jd0000000000000000000001",
  kind: "customer",
  roles: [],
  amr: ["pwd"],
  auth_time: NOW - 100,
};

function part(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return Buffer.from(text).toString("base64url");
}

function token(claims: object = {}, header: object = {}, keys = pair): string {
  const signed = `${part({ ...HEADER, ...header })}.${part({ ...CLAIMS, ...claims })}`;
  return `${signed}.${sign(null, Buffer.from(signed), keys.privateKey).toString("base64url")}`;
}

const OPTIONS: TokenOptions = {
  issuer: "https://shop.example",
  audience: "shop",
  jwks: { keys: [jwk(pair, "k1")] },
  now: () => NOW,
};

async function refused(text: string, code: string, options = OPTIONS): Promise<void> {
  await assert.rejects(
    verifyToken(text, options),
    (error: unknown) => error instanceof TokenError && error.code === code,
    `${code}: ${text}`,
  );
}

test("a token of the door's is believed", async () => {
  assert.deepEqual(await verifyToken(token(), OPTIONS), {
    account: CLAIMS.sub,
    session: CLAIMS.sid,
    kind: "customer",
    roles: [],
    client: "app",
    issuedAt: NOW - 10,
    expiresAt: NOW + 290,
    authTime: NOW - 100,
  });
  const many = token({ aud: ["else", "shop"], kind: "staff", roles: ["admin"] }, { typ: "AT+JWT" });
  assert.deepEqual((await verifyToken(many, OPTIONS)).roles, ["admin"]);
});

test("no other algorithm, type or extension", async () => {
  const unsigned = `${part({ ...HEADER, alg: "none" })}.${part(CLAIMS)}.`;
  await refused(unsigned, "algorithm");
  await refused(token({}, { alg: "none" }), "algorithm");
  await refused(token({}, { alg: "None" }), "algorithm");
  await refused(token({}, { alg: "Ed25519" }), "algorithm");
  await refused(token({}, { alg: ["EdDSA"] }), "algorithm");
  // The public key taken for an HMAC secret.
  const signed = `${part({ ...HEADER, alg: "HS256" })}.${part(CLAIMS)}`;
  const der = pair.publicKey.export({ format: "der", type: "spki" });
  const mac = createHmac("sha256", der).update(signed).digest("base64url");
  await refused(`${signed}.${mac}`, "algorithm");
  for (const typ of ["JWT", "jwt", "", undefined, "application/at+jwt", "at+jwt ", 1]) {
    await refused(token({}, { typ }), "algorithm");
  }
  await refused(token({}, { crit: ["exp"] }), "algorithm");
  await refused(token({}, { crit: null }), "algorithm");
});

test("no other key, and no key that the token brings", async () => {
  await refused(token({}, {}, other), "signature");
  await refused(token({}, { jwk: jwk(other, "k1") }, other), "signature");
  await refused(token({}, { kid: "k2" }), "key");
  await refused(token({}, { kid: undefined }), "key");
  await refused(token({}, { kid: "" }), "key");
  await refused(token({}, { kid: "__proto__" }), "key");
});

test("no byte of it can be another", async () => {
  const good = token();
  const [header = "", claims = "", signature = ""] = good.split(".");
  const changed = part({ ...CLAIMS, kind: "staff" });
  await refused(`${header}.${changed}.${signature}`, "signature");
  const flipped = Buffer.from(signature, "base64url").map((byte, place) => byte ^ Number(place === 5));
  await refused(`${header}.${claims}.${Buffer.from(flipped).toString("base64url")}`, "signature");
  const forms = ["", ".", "..", "...", good.slice(0, -1), `${good}.`, `${good}=`, ` ${good}`];
  forms.push(`${header}.${claims}`, `${header}.${claims}.`, `${good}A`, "x".repeat(9_000));
  forms.push(`${part("[]")}.${claims}.${signature}`, `${part("x")}.${claims}.${signature}`);
  for (const text of forms) await refused(text, "form");
});

test("issuer, audience and times, strictly", async () => {
  for (const iss of ["https://shop.example/", "http://shop.example", "", undefined, ["x"]]) {
    await refused(token({ iss }), "issuer");
  }
  for (const aud of ["Shop", "", undefined, null, [], ["else"], { shop: 1 }]) {
    await refused(token({ aud }), "audience");
  }
  await refused(token({ exp: NOW }), "expired");
  assert.ok(await verifyToken(token({ exp: NOW + 1 }), OPTIONS));
  for (const exp of [undefined, `${NOW + 100}`, NOW + 0.5, null, NOW - 10, NOW + 591]) {
    await refused(token({ exp }), "claims");
  }
  for (const iat of [undefined, NOW + 6, `${NOW}`, null]) await refused(token({ iat }), "claims");
  assert.ok(await verifyToken(token({ iat: NOW + 5, nbf: NOW + 5 }), OPTIONS));
  for (const nbf of [NOW + 6, null, "0"]) await refused(token({ nbf }), "claims");
});

test("an account, a session, a kind", async () => {
  for (const claims of [
    { sub: undefined },
    { sub: "ses_1" },
    { sid: undefined },
    { sid: 7 },
    { kind: "admin" },
    { kind: undefined },
    { roles: "admin" },
    { roles: [1] },
  ]) {
    await refused(token(claims), "claims");
  }
});

test("of a key set, only Ed25519 keys for signatures count", async () => {
  const keys = [
    jwk(other, "k1", { kty: "EC" }),
    jwk(other, "k1", { crv: "X25519" }),
    jwk(other, "k1", { alg: "ES256" }),
    jwk(other, "k1", { use: "enc" }),
    jwk(other, "k1", { x: "AAAA" }),
    { kid: "k1" },
    null as unknown as object,
  ];
  await refused(token({}, {}, other), "key", { ...OPTIONS, jwks: { keys } });
  assert.ok(await verifyToken(token(), { ...OPTIONS, jwks: { keys: [...keys, jwk(pair, "k1")] } }));
  assert.throws(() => new TokenVerifier({ ...OPTIONS, jwks: {} as never }), TypeError);
  assert.throws(() => new TokenVerifier({ ...OPTIONS, jwksUrl: "https://a.example" }), TypeError);
  assert.throws(() => new TokenVerifier({ ...OPTIONS, audience: "" }), TypeError);
});

test("keys are kept; an unknown one makes us ask once a minute at most", async () => {
  let asked = 0;
  let keys = [jwk(pair, "k1")];
  let works = true;
  const server = await listen((_, response) => {
    asked += 1;
    response.statusCode = works ? 200 : 500;
    response.end(JSON.stringify({ keys }));
  });
  try {
    let now = NOW;
    const options = { issuer: OPTIONS.issuer, audience: "shop", now: () => now };
    const verifier = new TokenVerifier({ ...options, jwksUrl: `${server.url}/jwks.json` });
    const fresh = (header: object = {}, from = pair) =>
      verifier.verify(token({ iat: now, exp: now + 300 }, header, from));
    // A token that is no good anyway makes nobody fetch.
    await assert.rejects(verifier.verify(token({ iss: "https://evil.example" })));
    assert.equal(asked, 0);
    await Promise.all([fresh(), fresh(), fresh()]);
    assert.equal(asked, 1, "one for all that wait");
    for (let count = 0; count < 5; count += 1) {
      await assert.rejects(fresh({ kid: "k2" }, other), TokenError);
    }
    assert.equal(asked, 1);
    now += 60;
    keys = [jwk(pair, "k1"), jwk(other, "k2")];
    await fresh({ kid: "k2" }, other);
    assert.equal(asked, 2);
    // A key that is published no more is gone with the next set.
    keys = [jwk(other, "k2")];
    now += 601;
    await assert.rejects(fresh(), TokenError);
    assert.equal(asked, 3);
    // The set serves on for an hour where no new one can be had.
    works = false;
    now += 3_600;
    await fresh({ kid: "k2" }, other);
    assert.equal(asked, 4);
    now += 60;
    await assert.rejects(fresh({ kid: "k2" }, other), /HTTP 500/);
    works = true;
    now += 5;
    await fresh({ kid: "k2" }, other);
  } finally {
    await server.close();
  }
});

test("keys are not fetched in the clear from another host", () => {
  const options = { issuer: OPTIONS.issuer, audience: "shop" };
  const jwksUrl = "http://shop.example/jwks.json";
  assert.throws(() => new TokenVerifier({ ...options, jwksUrl }), TypeError);
});
