import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { test } from "node:test";

import { Facts, type FactsOptions, ProblemError, QueueError, UnreachableError } from "@stagedoor/sdk";

import { bodyOf, gate, listen } from "./support.js";

declare module "@stagedoor/sdk" {
  interface FactFields {
    "loyalty.joined": { tier: "silver" | "gold" };
  }
}

interface Sent {
  id: string;
  kind: string;
  at?: string;
  fields: Record<string, unknown>;
}

type Answerer = (facts: Sent[], response: ServerResponse, request: IncomingMessage) => unknown;

/** A door that answers as it is told; takes everything where it is not. */
async function door(answerer: Answerer = take) {
  const batches: Sent[][] = [];
  const bytes: number[] = [];
  const state = { answerer };
  const server = await listen((request, response) => {
    void bodyOf(request).then((body) => {
      bytes.push(Buffer.byteLength(body));
      const { facts } = JSON.parse(body) as { facts: Sent[] };
      batches.push(facts);
      return state.answerer(facts, response, request);
    });
  });
  return { ...server, batches, bytes, state };
}

function take(facts: Sent[], response: ServerResponse): void {
  response.end(JSON.stringify({ facts: facts.map(({ id }) => ({ id, event: `evt_${id}` })) }));
}

function refuse(response: ServerResponse, status: number, errors: object[] = [], more = {}): void {
  const headers = { "content-type": "application/problem+json", ...more };
  response.writeHead(status, headers);
  const type = "urn:stagedoor:problem:web.invalid_fields";
  const code = "web.invalid_fields";
  const detail = "Some fields are wrong.";
  response.end(JSON.stringify({ type, title: "t", status, code, detail, errors, request_id: "r1" }));
}

function options(url: string, more: Partial<FactsOptions> = {}): FactsOptions {
  const patience = { tries: 3, pauseMs: 1, pauseMaxMs: 5 };
  return { url, key: "sdk_test_1", lingerMs: 5, patience, ...more };
}

function paid(number: number | string) {
  const fields = { order: `${number}`, amount_minor: 4990, currency: "EUR" };
  return { id: `order-${number}`, kind: "order.paid", account: "usr_1", fields } as const;
}

function problem(status: number) {
  return (error: unknown) => error instanceof ProblemError && error.status === status;
}

test("what comes at the same time is one batch, in order, with the key", async () => {
  const server = await door((facts, response, request) => {
    assert.equal(request.url, "/v1/facts");
    assert.equal(request.method, "POST");
    assert.equal(request.headers.authorization, "Bearer sdk_test_1");
    assert.equal(request.headers["content-type"], "application/json");
    take(facts, response);
  });
  const facts = new Facts(options(server.url));
  try {
    const at = new Date("2026-11-24T02:25:40Z");
    const told = await Promise.all([
      facts.tell({ ...paid(1), at }),
      facts.tell({ id: "p-1", kind: "product.changed", fields: { product: "lamp", change: "stock" } }),
      facts.tell({ id: "l-1", kind: "loyalty.joined", customer: "c7", fields: { tier: "gold" } }),
      facts.tell({ id: "x-1", kind: "own.kind", fields: { anything: ["a", "b"] } }),
    ]);
    assert.deepEqual(told[0], { id: "order-1", event: "evt_order-1" });
    assert.equal(server.batches.length, 1);
    assert.deepEqual(server.batches[0]?.map(({ id }) => id), ["order-1", "p-1", "l-1", "x-1"]);
    assert.deepEqual(server.batches[0]?.[0], { ...paid(1), at: "2026-11-24T02:25:40.000Z" });
    // The fields of a kind that is known are known to the compiler.
    // @ts-expect-error an amount is missing
    void (() => facts.tell({ id: "1", kind: "order.paid", fields: { order: "1", currency: "EUR" } }));
    // @ts-expect-error no such tier
    void (() => facts.tell({ id: "1", kind: "loyalty.joined", fields: { tier: "tin" } }));
  } finally {
    await facts.close();
    await server.close();
  }
});

test("a fact is what it was when it was told, however often it is tried", async () => {
  let tries = 0;
  const server = await door((facts, response) => {
    tries += 1;
    if (tries < 3) refuse(response, 503);
    else take(facts, response);
  });
  const facts = new Facts(options(server.url));
  try {
    const fact = { ...paid(1), fields: { ...paid(1).fields } };
    const told = facts.tell(fact);
    fact.fields.amount_minor = 1;
    await told;
    assert.equal(server.batches.length, 3);
    for (const batch of server.batches) assert.deepEqual(batch, [paid(1)]);
  } finally {
    await facts.close();
    await server.close();
  }
});

test("never more than 500 facts or 1 MiB in a batch, never one id twice", async () => {
  const server = await door();
  const facts = new Facts(options(server.url));
  try {
    const many = Array.from({ length: 1_100 }, (_, number) => facts.tell(paid(number)));
    const text = "x".repeat(30_000);
    const large = Array.from({ length: 80 }, (_, number) =>
      facts.tell({ id: `chat-${number}`, kind: "own.kind", fields: { text } }),
    );
    const twice = [facts.tell(paid("same")), facts.tell(paid("same")), facts.tell(paid("last"))];
    await facts.flush();
    assert.equal(facts.waiting, 0);
    await Promise.all([...many, ...large, ...twice]);
    assert.ok(server.batches.every((batch) => batch.length <= 500));
    assert.ok(server.bytes.every((size) => size <= 1024 * 1024));
    for (const batch of server.batches) {
      assert.equal(new Set(batch.map(({ id }) => id)).size, batch.length);
    }
    const order = server.batches.flat().map(({ id }) => id);
    const wanted = Array.from({ length: 1_100 }, (_, number) => `order-${number}`);
    assert.deepEqual(order.slice(0, 1_100), wanted);
    assert.deepEqual(order.slice(-3), ["order-same", "order-same", "order-last"]);
    await assert.rejects(facts.tell({ ...paid(1), id: "" }), TypeError);
    await assert.rejects(facts.tell({ ...paid(1), id: "é".repeat(65) }), TypeError);
    const huge = { text: "x".repeat(65_536) };
    await assert.rejects(facts.tell({ id: "h", kind: "own.kind", fields: huge }), RangeError);
  } finally {
    await facts.close();
    await server.close();
  }
});

test("wrong facts of a batch are found, and the good ones taken", async () => {
  const server = await door((facts, response) => {
    // The door names 50 wrong fields at most; here one at a time.
    const bad = facts.findIndex(({ id }) => id.startsWith("order-bad"));
    if (bad < 0) return take(facts, response);
    const status = facts[bad]?.id === "order-bad2" ? 409 : 422;
    const field = status === 409 ? `facts[${bad}].id` : `facts[${bad}].fields.currency`;
    return refuse(response, status, [{ field, detail: "is wrong" }]);
  });
  const facts = new Facts(options(server.url));
  try {
    const told = ["1", "bad1", "2", "bad2", "3"].map((number) => facts.tell(paid(number)));
    const settled = await Promise.allSettled(told);
    assert.deepEqual(
      settled.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled", "rejected", "fulfilled"],
    );
    const reasons = settled.map((one) => (one.status === "rejected" ? one.reason : null));
    assert.ok(reasons[1] instanceof ProblemError && reasons[3] instanceof ProblemError);
    assert.deepEqual(reasons[1].errors, [{ field: "fact.fields.currency", detail: "is wrong" }]);
    assert.equal(reasons[1].code, "web.invalid_fields");
    assert.equal(reasons[1].request_id, "r1");
    assert.match(reasons[1].message, /422 web\.invalid_fields: .*fact\.fields\.currency is wrong/);
    assert.equal(reasons[3].status, 409);
    assert.equal(server.batches.length, 3);
  } finally {
    await facts.close();
    await server.close();
  }
});

test("a refusal that names no fact: halves find the one that it is about", async () => {
  for (const status of [409, 413, 422]) {
    const server = await door((facts, response) => {
      if (facts.some(({ id }) => id === "order-5")) refuse(response, status);
      else take(facts, response);
    });
    const facts = new Facts(options(server.url));
    try {
      const told = Array.from({ length: 8 }, (_, number) => facts.tell(paid(number)));
      const settled = await Promise.allSettled(told);
      const lost = settled.flatMap((one, number) => (one.status === "rejected" ? [number] : []));
      assert.deepEqual(lost, [5]);
      await assert.rejects(told[5] as Promise<unknown>, problem(status));
      const sizes = server.batches.map((batch) => batch.length);
      assert.deepEqual(sizes, [8, 4, 4, 2, 1, 1, 2]);
    } finally {
      await facts.close();
      await server.close();
    }
  }
});

test("a refusal that is about no fact is everybody's, and is not tried again", async () => {
  for (const status of [400, 401, 403, 404]) {
    const server = await door((_, response) => refuse(response, status));
    const facts = new Facts(options(server.url));
    try {
      const told = [facts.tell(paid(1)), facts.tell(paid(2))];
      for (const one of told) await assert.rejects(one, problem(status));
      assert.equal(server.batches.length, 1);
    } finally {
      await facts.close();
      await server.close();
    }
  }
});

test("patience ends: the last refusal, or that nobody answered", async () => {
  const server = await door((_, response) => refuse(response, 429, [], { "retry-after": "1" }));
  const facts = new Facts(options(server.url));
  try {
    await assert.rejects(facts.tell(paid(1)), (error) => {
      return error instanceof ProblemError && error.status === 429 && error.retryAfterS === 1;
    });
    assert.equal(server.batches.length, 3);
    server.state.answerer = (_, response) => response.destroy();
    await assert.rejects(facts.tell(paid(2)), UnreachableError);
    assert.equal(server.batches.length, 6);
    // What claims to be an answer and does not name the facts is none.
    server.state.answerer = (_, response) => response.end(`{"facts":[{"id":"other","event":"e"}]}`);
    await assert.rejects(facts.tell(paid(3)), UnreachableError);
    server.state.answerer = (_, response) => response.end("x".repeat(2_000_000));
    await assert.rejects(facts.tell(paid(4)), /above 1048576 bytes/);
    server.state.answerer = (_, response) => {
      response.writeHead(302, { location: "http://127.0.0.1:1/" });
      response.end();
    };
    await assert.rejects(facts.tell(paid(5)), problem(302));
  } finally {
    await facts.close();
    await server.close();
  }
});

test("a door that does not answer is given up in time", async () => {
  const server = await door(() => {});
  const patience = { tries: 1 };
  const facts = new Facts(options(server.url, { timeoutMs: 50, patience }));
  try {
    await assert.rejects(facts.tell(paid(1)), /no answer in 50 ms/);
  } finally {
    await facts.close();
    await server.close();
  }
});

test("the queue is bounded, and a closed one takes nothing", async () => {
  const hold = gate();
  const server = await door(async (facts, response) => {
    await hold.passed;
    take(facts, response);
  });
  const facts = new Facts(options(server.url, { queueMax: 2 }));
  const small = new Facts(options(server.url, { queueMaxBytes: 150 }));
  try {
    const waiting = [facts.tell(paid(1)), facts.tell(paid(2)), small.tell(paid(3))];
    const full = (error: unknown) => error instanceof QueueError && error.code === "full";
    await assert.rejects(facts.tell(paid(4)), full);
    await assert.rejects(small.tell(paid(5)), full);
    hold.open();
    await Promise.all(waiting);
    await facts.tell(paid(6));
    await facts.close();
    const closed = (error: unknown) => error instanceof QueueError && error.code === "closed";
    await assert.rejects(facts.tell(paid(7)), closed);
  } finally {
    await small.close();
    await server.close();
  }
});

test("a key does not travel in the clear, unless it is said", () => {
  const key = "sdk_test_1";
  for (const url of ["http://shop.example", "http://127.0.0.1.example", "ftp://127.0.0.1"]) {
    assert.throws(() => new Facts({ url, key }), TypeError, url);
  }
  assert.ok(new Facts({ url: "http://stagedoor:8080", key, allowPlaintext: true }));
  assert.throws(() => new Facts({ url: "https://shop.example", key: "a\r\nb" }), TypeError);
  assert.throws(() => new Facts({ url: "https://shop.example", key: "" }), TypeError);
});
