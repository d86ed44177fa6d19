import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import {
  fetchCheckpoint,
  leafHash,
  parseVkey,
  ProofError,
  readEntry,
  verifyCheckpoint,
  verifyInclusion,
  verifyProof,
} from "@stagedoor/sdk";

import { listen } from "./support.js";

const ORIGIN = "log.shop.example/1";

interface Signer {
  name: string;
  vkey: string;
  id: Buffer;
  secret: KeyObject;
}

function signer(name: string, type = 1): Signer {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const raw = Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url");
  const key = Buffer.concat([Buffer.of(type), raw]);
  const id = createHash("sha256").update(`${name}\n`).update(key).digest().subarray(0, 4);
  const vkey = `${name}+${id.toString("hex")}+${key.toString("base64")}`;
  return { name, vkey, id, secret: privateKey };
}

function line(by: Signer, text: string, time?: bigint): string {
  const parts = [by.id];
  if (time === undefined) {
    parts.push(sign(null, Buffer.from(text), by.secret));
  } else {
    const stamp = Buffer.alloc(8);
    stamp.writeBigUInt64BE(time);
    parts.push(stamp, sign(null, Buffer.from(`cosignature/v1\ntime ${time}\n${text}`), by.secret));
  }
  return `\u2014 ${by.name} ${Buffer.concat(parts).toString("base64")}\n`;
}

const log = signer(ORIGIN);

function checkpoint(size: number | bigint, root: Buffer, origin = ORIGIN): string {
  return `${origin}\n${size}\n${root.toString("base64")}\n`;
}

function note(text: string, ...more: string[]): string {
  return `${text}\n${line(log, text)}${more.join("")}`;
}

/** The tree by MTH of RFC 6962, and its proofs by PATH, the plain recursive way. */
const sha = (...parts: Buffer[]) => createHash("sha256").update(Buffer.concat(parts)).digest();
function half(count: number): number {
  let power = 1;
  while (power * 2 < count) power *= 2;
  return power;
}
function root(leaves: Buffer[]): Buffer {
  const [first] = leaves;
  if (first && leaves.length === 1) return first;
  const k = half(leaves.length);
  return sha(Buffer.of(1), root(leaves.slice(0, k)), root(leaves.slice(k)));
}
function path(index: number, leaves: Buffer[]): Buffer[] {
  if (leaves.length === 1) return [];
  const k = half(leaves.length);
  return index < k
    ? [...path(index, leaves.slice(0, k)), root(leaves.slice(k))]
    : [...path(index - k, leaves.slice(k)), root(leaves.slice(0, k))];
}

const entries = Array.from({ length: 21 }, (_, number) => Buffer.from(`entry ${number}`));
const leaves = entries.map((entry) => sha(Buffer.of(0), entry));

function proofFile(index: number, size: number, extra = ""): string {
  const tree = leaves.slice(0, size);
  const hashes = path(index, tree).map((hash) => `${hash.toString("base64")}\n`);
  const head = `c2sp.org/tlog-proof@v1\n${extra}index ${index}\n${hashes.join("")}`;
  return `${head}\n${note(checkpoint(size, root(tree)))}`;
}

test("the root of the empty entry's leaf is RFC 6962's", () => {
  assert.equal(
    leafHash(Buffer.alloc(0)).toString("hex"),
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  );
});

test("the vectors of RFC 6962's reference tree", () => {
  // The leaves and root that certificate-transparency's own tests use.
  const inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"];
  inputs.push("606162636465666768696a6b6c6d6e6f");
  const tree = inputs.map((hex) => leafHash(Buffer.from(hex, "hex")));
  const wanted = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328";
  assert.equal(root(tree).toString("hex"), wanted);
  tree.forEach((leaf, index) => {
    verifyInclusion(leaf, BigInt(index), 8n, path(index, tree), Buffer.from(wanted, "hex"));
  });
});

test("every leaf of every tree is proved, and proves nothing else", () => {
  for (let size = 1; size <= entries.length; size += 1) {
    const tree = leaves.slice(0, size);
    const top = root(tree);
    for (let index = 0; index < size; index += 1) {
      const hashes = path(index, tree);
      const leaf = tree[index] as Buffer;
      const check = (change: { leaf?: Buffer; index?: number; size?: number; hashes?: Buffer[] }) =>
        verifyInclusion(
          change.leaf ?? leaf,
          BigInt(change.index ?? index),
          BigInt(change.size ?? size),
          change.hashes ?? hashes,
          top,
        );
      check({});
      const bad = (change: Parameters<typeof check>[0]) =>
        assert.throws(() => check(change), ProofError, `${index} of ${size}`);
      bad({ leaf: leafHash(Buffer.from("another")) });
      bad({ index: size });
      bad({ index: -1 });
      if (size > 1) bad({ index: (index + 1) % size });
      bad({ hashes: [...hashes, top] });
      bad({ hashes: [top, ...hashes] });
      if (hashes.length > 0) bad({ hashes: hashes.slice(1) });
      if (hashes.length > 1) bad({ hashes: hashes.toReversed() });
      hashes.forEach((hash, place) => {
        const flipped = Buffer.from(hash);
        flipped[7] = (flipped[7] ?? 0) ^ 1;
        bad({ hashes: hashes.with(place, flipped) });
      });
    }
  }
  assert.throws(() => verifyInclusion(leafHash(Buffer.of()), 0n, 0n, [], Buffer.alloc(32)), ProofError);
});

test("proof files: the entry at its place, offline", () => {
  for (const [index, size] of [[0, 1], [4, 7], [20, 21], [6, 7]] as const) {
    const entry = entries[index] as Buffer;
    const proven = verifyProof({ proof: proofFile(index, size), entry, key: log.vkey });
    assert.deepEqual([proven.index, proven.checkpoint.size], [BigInt(index), BigInt(size)]);
    const bytes = Buffer.from(proofFile(index, size, `extra ${Buffer.from("x").toString("base64")}\n`));
    assert.equal(verifyProof({ proof: bytes, entry, key: log.vkey }).index, BigInt(index));
    const other = Buffer.from("another entry");
    assert.throws(() => verifyProof({ proof: bytes, entry: other, key: log.vkey }), ProofError);
  }
});

test("a proof file with any line altered is refused", () => {
  const good = proofFile(4, 7);
  const entry = entries[4] as Buffer;
  const bad = (proof: string | Buffer, why: string) =>
    assert.throws(() => verifyProof({ proof, entry, key: log.vkey }), ProofError, why);
  const lines = good.split("\n");
  lines.forEach((text, place) => {
    bad(lines.toSpliced(place, 1).join("\n"), `without line ${place}`);
    if (text !== "") bad(lines.with(place, `${text}x`).join("\n"), `line ${place} longer`);
    if (text !== "") bad(lines.with(place, text.slice(0, -1)).join("\n"), `line ${place} shorter`);
  });
  bad(good.replace("@v1", "@v2"), "another version");
  for (const index of ["04", "+4", "4 ", "-0", "0x4", "9223372036854775808", ""]) {
    bad(good.replace("index 4", `index ${index}`), index);
  }
  bad(good.replace("index 4\n", `index 4\n${`${leafHash(entry).toString("base64")}\n`.repeat(64)}`), "64");
  bad(good.replace("index", "extra ???\nindex"), "extra");
  bad(good.slice(0, -1), "cut");
  bad(Buffer.from([0xff, 0xfe]), "no UTF-8");
  bad("", "nothing");
});

test("a checkpoint counts only as its log signed it", () => {
  const text = checkpoint(7, root(leaves.slice(0, 7)));
  const good = verifyCheckpoint(note(text), { key: log.vkey });
  assert.equal(good.origin, ORIGIN);
  assert.equal(good.size, 7n);
  assert.deepEqual(good.root, root(leaves.slice(0, 7)));
  assert.ok(verifyCheckpoint(note(`${text}an extension\n`), { key: log.vkey }));
  // Keys of others say nothing; keys that were changed both count.
  const stranger = signer("else.example");
  const later = signer(ORIGIN);
  assert.ok(verifyCheckpoint(note(text, line(stranger, "another text\n")), { key: log.vkey }));
  assert.ok(verifyCheckpoint(note(text), { key: [later.vkey, log.vkey] }));
  const bad = (text_: string | Buffer, key: string | string[] = log.vkey) =>
    assert.throws(() => verifyCheckpoint(text_, { key }), ProofError, String(text_));
  bad(note(text), later.vkey);
  bad(note(text), stranger.vkey);
  bad(note(text), []);
  bad(note(text), [log.vkey, stranger.vkey]);
  bad(note(text), [log.vkey, log.vkey]);
  bad(note(text).replace("\n7\n", "\n8\n"));
  bad(`${text}\n${line(stranger, text)}`);
  // One good signature does not mend a bad one of the same key.
  bad(note(text, line(log, "another text\n")));
  bad(note(checkpoint(7, root(leaves), "log.shop.example/2")));
  for (const broken of [
    text.slice(0, -1),
    `${ORIGIN}\n07\n${root(leaves).toString("base64")}\n`,
    `${ORIGIN}\n9223372036854775808\n${root(leaves).toString("base64")}\n`,
    `${ORIGIN}\n7\n${root(leaves).toString("base64").slice(0, -1)}\n`,
    `${ORIGIN}\n7\n${root(leaves).toString("base64")}`,
    `${ORIGIN}\n7\n`,
    `${ORIGIN}\r\n7\r\n${root(leaves).toString("base64")}\r\n`,
    "",
  ]) {
    bad(note(broken));
  }
  bad(note(text).trimEnd());
  bad(note(text, "x\n"));
  bad(note(text, line(stranger, text).repeat(64)));
  bad(note(text).replace("\u2014", "-"));
  bad("x".repeat(300_000));
});

test("witnesses are counted", () => {
  const text = checkpoint(7, root(leaves.slice(0, 7)));
  const [one, two] = [signer("one.example", 4), signer("two.example", 4)];
  const witnesses = [one.vkey, two.vkey];
  const both = note(text, line(one, text, 1_795_487_140n), line(two, text, 1_795_487_141n));
  const single = note(text, line(one, text, 1_795_487_140n));
  const found = verifyCheckpoint(both, { key: log.vkey, witnesses });
  assert.deepEqual(found.witnesses, [
    { name: "one.example", time: 1_795_487_140n },
    { name: "two.example", time: 1_795_487_141n },
  ]);
  assert.ok(verifyCheckpoint(single, { key: log.vkey, witnesses, quorum: 1 }));
  const bad = (text_: string, trust: object) =>
    assert.throws(() => verifyCheckpoint(text_, { key: log.vkey, witnesses, ...trust }), ProofError);
  bad(single, {});
  bad(note(text, line(one, text, 1n), line(one, text, 2n)), {});
  bad(note(text, line(one, text), line(two, text, 1n)), {});
  bad(note(text, line(one, "another\n", 1n)), { quorum: 0 });
  bad(`${text}\n${line(one, text, 1n)}`, { quorum: 0 });
  bad(both, { quorum: 3 });
  bad(both, { witnesses: [one.vkey, one.vkey] });
  bad(both, { witnesses: [log.vkey] });
  bad(both, { key: one.vkey, witnesses: [] });
});

test("a vkey has one spelling and its own id", () => {
  assert.equal(parseVkey(`${log.vkey}\n`).name, ORIGIN);
  const [name, id, key = ""] = log.vkey.split(/\+(.{8})\+/);
  for (const bad of [
    "",
    `${name}+${id}`,
    `${name}+00000000+${key}`,
    `${name}+${id?.toUpperCase()}x+${key}`,
    `other+${id}+${key}`,
    `${name}+${id}+${key.slice(0, -1)}`,
    `${name}+${id}+${key}AA`,
    `a b+${id}+${key}`,
    signer("x", 2).vkey,
  ]) {
    assert.throws(() => parseVkey(bad), ProofError, bad);
  }
});

test("what an entry says is read, or nothing", () => {
  const frame = (text: string) => Buffer.concat([Buffer.of(0, 0, 0, text.length), Buffer.from(text)]);
  const at = Buffer.alloc(8);
  at.writeBigInt64BE(1_795_487_140_000_000n);
  const kind = "identity.login_failed";
  const entry = Buffer.concat([Buffer.of(1), Buffer.alloc(16, 7), at, frame(kind), frame("nobody")]);
  const read = readEntry(entry);
  assert.deepEqual([read?.kind, read?.actor, read?.at], [kind, "nobody", 1_795_487_140_000_000n]);
  for (let length = 0; length < entry.length; length += 1) {
    assert.equal(readEntry(entry.subarray(0, length)), null);
  }
  assert.equal(readEntry(Buffer.concat([Buffer.of(2), entry.subarray(1)])), null);
});

test("the latest checkpoint is fetched, and kept as it came", async () => {
  const text = note(checkpoint(7, root(leaves.slice(0, 7))));
  let answer: [number, string] = [200, text];
  const server = await listen((request, response) => {
    assert.equal(request.url, "/v1/log/checkpoint");
    response.writeHead(answer[0]).end(answer[1]);
  });
  try {
    const found = await fetchCheckpoint({ url: server.url, key: log.vkey });
    assert.deepEqual([found.size, found.note], [7n, text]);
    const other = { url: server.url, key: signer(ORIGIN).vkey };
    await assert.rejects(fetchCheckpoint(other), ProofError);
    answer = [404, `{"code":"web.not_found"}`];
    await assert.rejects(fetchCheckpoint({ url: server.url, key: log.vkey }), /web\.not_found/);
  } finally {
    await server.close();
  }
});

test("stagedoor-verify says by its exit code what holds", () => {
  const dir = mkdtempSync(join(tmpdir(), "sdk-verify-"));
  const run = (...words: string[]) => {
    const cli = new URL("../dist/cli.js", import.meta.url).pathname;
    const { status, stdout, stderr } = spawnSync(process.execPath, [cli, ...words]);
    return { status, said: `${stdout}${stderr}` };
  };
  try {
    const file = (name: string, contents: string | Buffer) => {
      writeFileSync(join(dir, name), contents);
      return join(dir, name);
    };
    const proof = file("p", proofFile(4, 7));
    const key = ["--key", log.vkey];
    const good = run("proof", ...key, "--entry", file("e", entries[4] as Buffer), proof);
    assert.equal(good.status, 0);
    assert.match(good.said, /It holds: leaf 4 of 7/);
    const bad = run("proof", ...key, "--entry", file("x", "another"), proof);
    assert.equal(bad.status, 2);
    assert.match(bad.said, /WRONG: the proof leads to another root/);
    const kept = file("c", note(checkpoint(7, root(leaves.slice(0, 7)))));
    assert.equal(run("checkpoint", ...key, kept).status, 0);
    assert.equal(run("checkpoint", "--key", signer(ORIGIN).vkey, kept).status, 2);
    assert.equal(run("checkpoint", ...key, join(dir, "none")).status, 1);
    const [one, two] = [signer("one.example", 4), signer("two.example", 4)];
    const text = checkpoint(7, root(leaves.slice(0, 7)));
    const cosigned = file("w", note(text, line(one, text, 1_795_487_140n)));
    const witnesses = ["--witness", one.vkey, "--witness", two.vkey];
    assert.equal(run("checkpoint", ...key, ...witnesses, cosigned).status, 2);
    const oneOfTwo = run("checkpoint", ...key, ...witnesses, "--quorum", "1", cosigned);
    assert.match(oneOfTwo.said, /witnesses: one.example/);
    assert.equal(oneOfTwo.status, 0);
    assert.equal(run("checkpoint", ...key, ...witnesses, "--quorum", "x", cosigned).status, 2);
    for (const words of [[], ["else", ...key, kept], ["checkpoint", kept], ["--nonsense"]]) {
      const { status, said } = run(...words);
      assert.equal(status, 1);
      assert.match(said, /--key VKEY/);
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
});
