/**
 * The outbox on a real PostgreSQL: `STAGEDOOR_TEST_POSTGRES`, or the one on this host. Skipped where
 * none answers; where the address was given and none answers, it fails.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test, type TestContext } from "node:test";

import pg from "pg";

import { Facts, Outbox, OutboxRelay, outboxSchema, type RelayOptions } from "@stagedoor/sdk";

import { bodyOf, listen } from "./support.js";

const told = process.env["STAGEDOOR_TEST_POSTGRES"];
const connectionString = told ?? "postgres://root@127.0.0.1:5432/postgres";
const schema = `sdk_${randomBytes(6).toString("hex")}`;
const table = `${schema}.outbox`;
const pool = new pg.Pool({ connectionString, max: 4, connectionTimeoutMillis: 3_000 });
let skip: string | false = false;

before(async () => {
  try {
    await pool.query(`CREATE SCHEMA ${schema}`);
  } catch (error) {
    if (told !== undefined) throw error;
    skip = "no PostgreSQL answers: the outbox is NOT tested; set STAGEDOOR_TEST_POSTGRES";
    console.error(`\n*** ${skip} ***\n`);
    return;
  }
  await pool.query(outboxSchema(table));
  await pool.query(outboxSchema(table));
});

after(async () => {
  if (!skip) await pool.query(`DROP SCHEMA ${schema} CASCADE`);
  await pool.end();
});

interface Sent {
  id: string;
  at: string;
  fields: { amount_minor: number };
}

/** A door that remembers ids, as the real one does. */
async function door(t: TestContext) {
  const state = { works: true, known: new Map<string, string>(), order: [] as string[], asked: 0 };
  const server = await listen((request, response) => {
    void bodyOf(request).then((body) => {
      state.asked += 1;
      const refuse = (status: number, errors: object[]) => {
        response.writeHead(status).end(JSON.stringify({ status, code: "c", detail: "d", errors }));
      };
      if (!state.works) return refuse(503, []);
      const { facts } = JSON.parse(body) as { facts: Sent[] };
      const bad = facts.flatMap(({ fields }, place) =>
        fields.amount_minor < 0 ? [{ field: `facts[${place}].fields.amount_minor`, detail: "x" }] : [],
      );
      if (bad.length > 0) return refuse(422, bad);
      for (const fact of facts) {
        const text = JSON.stringify(fact);
        assert.equal(state.known.get(fact.id) ?? text, text, "a repeat has the same contents");
        if (!state.known.has(fact.id)) state.order.push(fact.id);
        state.known.set(fact.id, text);
      }
      const taken = facts.map(({ id }) => ({ id, event: `evt_${id}` }));
      return response.end(JSON.stringify({ facts: taken }));
    });
  });
  const patience = { tries: 1, pauseMs: 1, pauseMaxMs: 2 };
  const facts = new Facts({ url: server.url, key: "sdk_test_1", patience });
  const relay = (more: Partial<RelayOptions> = {}) =>
    new OutboxRelay({ db: pool, facts, table, pollMs: 10, ...more });
  t.after(async () => {
    await facts.close();
    await server.close();
  });
  return { state, facts, relay };
}

const outbox = new Outbox(table);

function paid(number: number, amount_minor = 4990) {
  const fields = { order: `${number}`, amount_minor, currency: "EUR" };
  return { id: `order-${number}`, kind: "order.paid", account: "usr_1", fields } as const;
}

async function transaction(work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    await work(client);
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
}

async function waiting(): Promise<number> {
  const { rows } = await pool.query(`SELECT count(*)::int AS n FROM ${table}`);
  return (rows[0] as { n: number }).n;
}

test("a fact exists if, and only if, its transaction commits", async (t) => {
  if (skip) return t.skip(skip);
  const { relay, state } = await door(t);
  await transaction(async (client) => {
    assert.equal(await outbox.tell(client, paid(1)), true);
    assert.equal(await outbox.tell(client, paid(1)), false, "it waits already");
    assert.equal(await outbox.tell(client, { ...paid(2), at: "2026-11-24T02:25:40Z" }), true);
  });
  const broken = transaction(async (client) => {
    await outbox.tell(client, paid(3));
    throw new Error("the order failed");
  });
  await assert.rejects(broken, /the order failed/);
  assert.equal(await relay().drain(), 2);
  assert.deepEqual(state.order, ["order-1", "order-2"]);
  const second = JSON.parse(state.known.get("order-2") ?? "") as Sent;
  assert.equal(second.at, "2026-11-24T02:25:40Z");
  assert.match((JSON.parse(state.known.get("order-1") ?? "") as Sent).at, /^20.*Z$/);
  assert.equal(await waiting(), 0);
});

test("in order, in full batches, also by two relays at once", async (t) => {
  if (skip) return t.skip(skip);
  const { relay, state } = await door(t);
  await transaction(async (client) => {
    for (let number = 0; number < 1_200; number += 1) await outbox.tell(client, paid(number));
  });
  // Rows that were written anew lie elsewhere: only the position says what came first.
  await pool.query(`UPDATE ${table} SET created_at = now() WHERE position % 3 = 0`);
  await Promise.all([relay().drain(), relay().drain()]);
  assert.deepEqual(state.order, Array.from({ length: 1_200 }, (_, number) => `order-${number}`));
  assert.equal(await waiting(), 0);
});

test("what was taken and not removed is sent again, and taken once", async (t) => {
  if (skip) return t.skip(skip);
  const { relay, state } = await door(t);
  await transaction(async (client) => void (await outbox.tell(client, paid(1))));
  // The database goes away between the door's answer and the removal.
  const db = {
    query: (text: string, params?: unknown[]) =>
      text.startsWith("DELETE") ? Promise.reject(new Error("gone")) : pool.query(text, params),
  };
  await assert.rejects(relay({ db }).drain(), /gone/);
  assert.equal(await waiting(), 1);
  assert.equal(await relay().drain(), 1);
  assert.deepEqual([state.order, state.asked], [["order-1"], 2]);
});

test("a fact that is refused for good steps aside, with the reason", async (t) => {
  if (skip) return t.skip(skip);
  const { relay, state } = await door(t);
  await transaction(async (client) => {
    await outbox.tell(client, paid(1));
    await outbox.tell(client, paid(2, -1));
    await outbox.tell(client, paid(3));
  });
  const refused: string[] = [];
  const onRefused = (id: string) => void refused.push(id);
  assert.equal(await relay({ onRefused }).drain(), 2);
  assert.deepEqual([state.order, refused], [["order-1", "order-3"], ["order-2"]]);
  const { rows } = await pool.query(`SELECT fact_id, refusal FROM ${table}`);
  assert.equal(rows.length, 1);
  const { fact_id, refusal } = rows[0] as { fact_id: string; refusal: { errors: object[] } };
  assert.equal(fact_id, "order-2");
  assert.deepEqual(refusal.errors, [{ field: "fact.fields.amount_minor", detail: "x" }]);
  await pool.query(`DELETE FROM ${table}`);
});

test("the relay goes on after the door was away, and stops when it is told", async (t) => {
  if (skip) return t.skip(skip);
  const { relay, state } = await door(t);
  state.works = false;
  let failed = () => {};
  const failure = new Promise<void>((resolve) => {
    failed = resolve;
  });
  const running = relay({ onError: () => failed() });
  running.start();
  running.start();
  await transaction(async (client) => void (await outbox.tell(client, paid(1))));
  running.wake();
  await failure;
  assert.equal(await waiting(), 1);
  state.works = true;
  while ((await waiting()) > 0) await new Promise((resolve) => setImmediate(resolve));
  await running.stop();
  const { asked } = state;
  await transaction(async (client) => void (await outbox.tell(client, paid(2))));
  running.wake();
  assert.equal(state.asked, asked);
  assert.equal(await relay().drain(), 1);
});

test("only names are taken for a table's name", () => {
  for (const name of ["", "a b", 'a"', "a;b", "a.b.c", "A", "a-b", "1a", "a".repeat(64)]) {
    assert.throws(() => outboxSchema(name), TypeError, name);
    assert.throws(() => new Outbox(name), TypeError, name);
  }
});
