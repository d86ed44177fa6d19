import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { IdentityError, type IdentityOptions, LocalNonces, verifyIdentity } from "@stagedoor/sdk";

import { KEY, NOW, signedHeaders } from "./support.js";

/** HMAC by RFC 2104 and the frame of the description, without node's HMAC and without the SDK. */
function byHand(key: Buffer, parts: Buffer[]): string {
  const sha = (...chunks: Buffer[]) => createHash("sha256").update(Buffer.concat(chunks)).digest();
  const block = Buffer.alloc(64);
  (key.length > 64 ? sha(key) : key).copy(block);
  const framed = parts.flatMap((part) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(part.length);
    return [length, part];
  });
  const inner = sha(block.map((byte) => byte ^ 0x36) as Buffer, ...framed);
  return sha(block.map((byte) => byte ^ 0x5c) as Buffer, inner).toString("base64url");
}

/** Made by another program (Python's hmac) from the description alone. */
const VECTORS = [
  {
    key: Buffer.from(KEY),
    method: "GET",
    path: "/checkout?product=lamp&n=2",
    account: "usr_01jd0000000000000000000000",
    session: "ses_01jd0000000000000000000001",
    kind: "staff",
    roles: "admin,support",
    time: "1795487140",
    nonce: "000102030405060708090a0b0c0d0e0f",
    signature: "FujMLgP8ji-_tzOrtwzxabtGRBSFPHw1jaDGdyaSY2s",
  },
  {
    key: Buffer.from(KEY),
    method: "POST",
    // UTF-8 on the wire, which Node gives as Latin-1
    path: Buffer.from("/suche?q=glühwürmchen").toString("latin1"),
    account: "usr_01jd0000000000000000000000",
    session: "ses_01jd0000000000000000000001",
    kind: "customer",
    roles: "",
    time: "1795487140",
    nonce: "ffffffffffffffffffffffffffffffff",
    signature: "vK2a5f9bsCeoUCvi1cn5nyj67R42_vygiEjVYbN0Vc4",
  },
  {
    key: Buffer.from(Array.from({ length: 32 }, (_, byte) => byte)),
    method: "GET",
    path: "/",
    account: "usr_1",
    session: "ses_1",
    kind: "customer",
    roles: "",
    time: "0",
    nonce: "00000000000000000000000000000000",
    signature: "otseD6ij1inCq6Xjd2n1ngIKIJQpnNaM-LSGUm0IABA",
  },
];

function headersOf(vector: (typeof VECTORS)[number]): Record<string, string> {
  const { account, session, kind, roles, time, nonce, signature } = vector;
  const values = { account, session, kind, roles, time, nonce, signature };
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [`x-stagedoor-${name}`, value]),
  );
}

function fault(code: string) {
  return (error: unknown) => error instanceof IdentityError && error.code === code;
}

function ask(change: Partial<IdentityOptions> = {}): IdentityOptions {
  const headers = signedHeaders({ path: "/a?b=c", kind: "staff", roles: "admin,support" });
  return { key: KEY, method: "GET", path: "/a?b=c", headers, now: NOW, ...change };
}

for (const [number, vector] of VECTORS.entries()) {
  test(`vector ${number} is what three programs say`, () => {
    const { key, method, path, account, session, kind, roles, time, nonce, signature } = vector;
    const parts = [method, path, account, session, kind, roles, time, nonce];
    assert.equal(byHand(key, parts.map((part) => Buffer.from(part, "latin1"))), signature);
    const found = verifyIdentity({
      key,
      method,
      path,
      headers: headersOf(vector),
      now: Number(time),
      seen: new LocalNonces(),
    });
    assert.deepEqual(found, {
      account,
      session,
      kind,
      roles: roles === "" ? [] : roles.split(","),
      nonce,
      untilS: Number(time) + 60,
    });
  });
}

test("headers of other forms are read alike", () => {
  const plain = signedHeaders({ path: "/a?b=c" });
  const upper = Object.fromEntries(
    Object.entries(plain).map(([name, value]) => [name.toUpperCase(), value]),
  );
  for (const headers of [new Headers(plain), upper]) {
    assert.equal(verifyIdentity(ask({ headers, seen: null }))?.kind, "customer");
  }
});

test("nobody is signed in where none of the headers is there", () => {
  assert.equal(verifyIdentity(ask({ headers: {} })), null);
  assert.equal(verifyIdentity(ask({ headers: new Headers({ accept: "*/*" }) })), null);
  assert.equal(verifyIdentity(ask({ headers: { "x-stagedoor-unchecked": "body" } })), null);
});

test("each header is signed: left out, altered or doubled, none is believed", () => {
  for (const name of Object.keys(signedHeaders())) {
    const headers: Record<string, string> = { ...(ask().headers as Record<string, string>) };
    const value = headers[name] ?? "";
    const { [name]: _, ...without } = headers;
    assert.throws(() => verifyIdentity(ask({ headers: without })), fault("incomplete"), name);
    const doubled = { ...without, [name]: [value, value] };
    assert.throws(() => verifyIdentity(ask({ headers: doubled })), fault("incomplete"), name);
    // As Node joins what came twice.
    const joined = { ...headers, [name]: `${value}, ${value}` };
    assert.throws(() => verifyIdentity(ask({ headers: joined })), IdentityError, name);
    const cased = { ...headers, [name.toUpperCase()]: value };
    assert.throws(() => verifyIdentity(ask({ headers: cased })), fault("incomplete"), name);
    for (const other of ["", "forged", `${value}x`, value.slice(0, -1), ` ${value}`, "ÿ", "Ā"]) {
      const altered = { ...headers, [name]: other };
      assert.throws(() => verifyIdentity(ask({ headers: altered })), fault("signature"), name);
    }
  }
});

test("method and path are signed", () => {
  for (const change of [
    { method: "POST" },
    { method: "get" },
    { path: "/a?b=d" },
    { path: "/a" },
    { path: "/a?b=c&" },
    { path: "/A?b=c" },
  ]) {
    assert.throws(() => verifyIdentity(ask(change)), fault("signature"), JSON.stringify(change));
  }
});

test("the frame keeps neighbours apart", () => {
  const headers = signedHeaders({ account: "usr_1s", session: "es_1" });
  const moved = { ...headers, "x-stagedoor-account": "usr_1", "x-stagedoor-session": "ses_1" };
  const options = ask({ path: "/", headers: moved });
  assert.throws(() => verifyIdentity(options), fault("signature"));
});

test("a signature has one spelling", () => {
  const headers = ask().headers as Record<string, string>;
  const signature = headers["x-stagedoor-signature"] ?? "";
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  // The last letter holds two bits that decode to nothing.
  const stray = signature.slice(0, -1) + alphabet[alphabet.indexOf(signature.at(-1) ?? "") ^ 1];
  for (const spelled of [stray, `${signature}=`, `${signature}\n`, signature.replace(/^/, " ")]) {
    const altered = { ...headers, "x-stagedoor-signature": spelled };
    assert.throws(() => verifyIdentity(ask({ headers: altered })), fault("signature"));
  }
});

test("sixty seconds either way, and not one more", () => {
  for (const [now, good] of [[NOW - 60, true], [NOW + 60, true], [NOW - 61, false], [NOW + 61, false]]) {
    const check = () => verifyIdentity(ask({ now: now as number, seen: null }));
    if (good) assert.ok(check());
    else assert.throws(check, fault("time"));
  }
});

test("a time that is no plain number is refused although it is signed", () => {
  for (const time of ["1e9", "+1", " 1", "", "0x10", "NaN", "-1", "1.5", "9".repeat(13)]) {
    const headers = signedHeaders({ path: "/a?b=c", time: time as unknown as number });
    assert.throws(() => verifyIdentity(ask({ headers })), fault("time"), time);
  }
});

test("a kind that is none, or a nonce of another form, is refused although it is signed", () => {
  const kind = signedHeaders({ path: "/a?b=c", kind: "admin" });
  assert.throws(() => verifyIdentity(ask({ headers: kind })), fault("signature"));
  for (const nonce of ["", "A".repeat(32), "0".repeat(31), "0".repeat(33)]) {
    const headers = signedHeaders({ path: "/a?b=c", nonce });
    assert.throws(() => verifyIdentity(ask({ headers })), fault("signature"), nonce);
  }
});

test("keys change: any of several, none of the others", () => {
  const other = "another key, which is as long as a key must be";
  assert.ok(verifyIdentity({ ...ask({ keys: [other, KEY] }), key: other }));
  const { key: _, ...keyless } = ask({ keys: [`${KEY}\n`] });
  assert.ok(verifyIdentity(keyless), "a key file's line end is not the key's");
  assert.throws(() => verifyIdentity(ask({ key: other })), fault("signature"));
  assert.throws(() => verifyIdentity(ask({ key: "short" })), TypeError);
  assert.throws(() => verifyIdentity(ask({ key: "" })), TypeError);
  assert.throws(() => verifyIdentity({ ...keyless, keys: [] }), TypeError);
});

test("the same signed request counts once, also where no memory was given", () => {
  const once = ask();
  assert.ok(verifyIdentity(once));
  assert.throws(() => verifyIdentity(once), fault("replayed"));
  assert.throws(() => verifyIdentity({ ...once, now: NOW + 60 }), fault("replayed"));
  assert.throws(() => verifyIdentity({ ...once, now: NOW + 61 }), fault("time"));
});

test("a request from the future is remembered for as long as it can be believed", () => {
  const seen = new LocalNonces();
  const headers = signedHeaders({ path: "/a?b=c", time: NOW + 60 });
  assert.ok(verifyIdentity(ask({ headers, seen })));
  assert.throws(() => verifyIdentity(ask({ headers, seen, now: NOW + 120 })), fault("replayed"));
});

test("what is not believed takes no room in the memory", () => {
  const seen = new LocalNonces();
  assert.throws(() => verifyIdentity(ask({ seen, method: "PUT" })));
  assert.throws(() => verifyIdentity(ask({ seen, now: NOW + 100 })));
  assert.equal(seen.size, 0);
});

test("the memory is bounded: full, it refuses; what is over makes room", () => {
  const seen = new LocalNonces(2);
  const next = (now: number) => {
    const headers = signedHeaders({ path: "/a?b=c", time: now });
    return verifyIdentity(ask({ headers, seen, now }));
  };
  next(NOW);
  next(NOW);
  assert.throws(() => next(NOW), fault("memory_full"));
  assert.throws(() => next(NOW + 60), fault("memory_full"));
  assert.ok(next(NOW + 61));
  assert.equal(seen.size, 1);
});
