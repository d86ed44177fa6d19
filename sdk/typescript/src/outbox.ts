/**
 * Never lose a fact: it is written into a table of the shop's own PostgreSQL, in the transaction of
 * what it tells, and a relay brings it to the door and then removes it. Sent twice is harmless: the
 * door takes each id once, for 72 hours (`access.facts.replay_h`).
 *
 * Order: facts of one transaction, and of transactions that follow each other, arrive in order.
 * Several relays may run; each brings the oldest first, so that order holds, but one is enough.
 */
import { batchOf, pack, type Packed } from "./carrier.js";
import type { Fact } from "./fact.js";
import type { Facts } from "./facts.js";
import type { ProblemError } from "./problem.js";

/** What is used of a client or pool of `pg`. */
export interface Queryable {
  query(text: string, params?: unknown[]): Promise<{ rows: unknown[] }>;
}

/** The table's name where none is given. */
const TABLE = "stagedoor_outbox";
/** Facts that are read at once: a full batch. */
const READ_MAX = 500;

/** The name in quotes; a schema may stand before it. @throws {TypeError} for anything else. */
function quoted(table: string): string {
  if (!/^[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?$/.test(table)) {
    throw new TypeError("a table's name is wanted, as outbox or shop.outbox");
  }
  return table.split(".").map((part) => `"${part}"`).join(".");
}

/**
 * The table, as SQL for the shop's own migrations. Facts in it are in the clear until they are
 * taken: protect it as the orders themselves.
 */
export function outboxSchema(table: string = TABLE): string {
  return `CREATE TABLE IF NOT EXISTS ${quoted(table)} (
  position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  fact_id TEXT NOT NULL UNIQUE CHECK (octet_length(fact_id) BETWEEN 1 AND 128),
  fact JSON NOT NULL,
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  refused_at TIMESTAMPTZ,
  refusal JSON
);`;
}

/** Writes facts into the outbox. */
export class Outbox {
  readonly #insert: string;

  /** @throws {TypeError} for a table's name that is none. */
  constructor(table: string = TABLE) {
    this.#insert = `INSERT INTO ${quoted(table)} (fact_id, fact) VALUES ($1, $2)
      ON CONFLICT (fact_id) DO NOTHING RETURNING position`;
  }

  /**
   * Writes a fact by the client of the running transaction; the fact exists if, and only if, that
   * commits. False where a fact of this id waits already. Where `at` is left out, it is now.
   *
   * @throws {TypeError} {@link RangeError} for what the door would never take.
   */
  async tell<K extends string>(client: Queryable, fact: Fact<K>): Promise<boolean> {
    // The door's own "now" would be when the relay came, not when it happened.
    const packed = pack({ ...(fact as Fact<string>), at: fact.at ?? new Date() });
    const { rows } = await client.query(this.#insert, [packed.id, packed.json]);
    return rows.length === 1;
  }
}

/** How the outbox is emptied. */
export interface RelayOptions {
  /** A pool, or a client that nobody else uses. */
  db: Queryable;
  /** Where facts go. */
  facts: Facts;
  table?: string;
  /** How often is looked where nobody wakes it, ms. Default 1,000. */
  pollMs?: number;
  /** Hears of each fact that the door refused for good. It stays in the table, with the reason. */
  onRefused?: (id: string, why: ProblemError) => void;
  /** Hears when the database or the door fails; the relay goes on. */
  onError?: (error: unknown) => void;
}

interface Row extends Packed {
  readonly position: string;
}

/** Brings facts from the outbox to the door. */
export class OutboxRelay {
  readonly #options: RelayOptions;
  readonly #read: string;
  readonly #remove: string;
  readonly #mark: string;
  #wake: (() => void) | null = null;
  #woken = false;
  #stopping = false;
  #running: Promise<void> | null = null;

  /** @throws {TypeError} for a table's name that is none. */
  constructor(options: RelayOptions) {
    const table = quoted(options.table ?? TABLE);
    this.#options = options;
    // The alias is another name than the column's: ORDER BY would take the text, and 10 before 9.
    this.#read = `SELECT position::text AS place, fact_id, fact::text AS fact FROM ${table}
      WHERE refused_at IS NULL ORDER BY position LIMIT ${READ_MAX}`;
    this.#remove = `DELETE FROM ${table} WHERE position = ANY($1::bigint[])`;
    this.#mark = `UPDATE ${table} SET refused_at = now(), refusal = $2 WHERE position = $1`;
  }

  /** Begins; does nothing where it runs already. */
  start(): void {
    this.#stopping = false;
    this.#running ??= this.#loop().finally(() => {
      this.#running = null;
    });
  }

  /** Says that a transaction with facts was committed: they go at once. */
  wake(): void {
    this.#woken = true;
    this.#wake?.();
  }

  /** Ends after the batch that is on its way. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#wake?.();
    await this.#running;
  }

  /**
   * Brings what is there, once, until nothing waits; how many were taken. For a job or a test.
   *
   * @throws what the database and the door throw.
   */
  async drain(): Promise<number> {
    let taken = 0;
    for (;;) {
      const batch = await this.#next();
      if (batch.length === 0) return taken;
      taken += await this.#bring(batch);
    }
  }

  async #loop(): Promise<void> {
    const { pollMs = 1_000, facts, onError } = this.#options;
    let failed = 0;
    while (!this.#stopping) {
      this.#woken = false;
      try {
        const batch = await this.#next();
        failed = 0;
        if (batch.length > 0) {
          await this.#bring(batch);
          continue;
        }
      } catch (error) {
        failed += 1;
        onError?.(error);
      }
      if (failed > 0) await this.#sleep(pollMs + facts.carrier.pauseFor(failed), true);
      else await this.#sleep(pollMs, false);
    }
  }

  async #next(): Promise<Row[]> {
    const { rows } = await this.#options.db.query(this.#read);
    const read = rows as { place: string; fact_id: string; fact: string }[];
    return batchOf(
      read.map(({ place, fact_id, fact }) => {
        return { position: place, id: fact_id, json: fact, bytes: Buffer.byteLength(fact) };
      }),
    );
  }

  async #bring(batch: readonly Row[]): Promise<number> {
    const { db, facts, onRefused } = this.#options;
    const outcomes = await facts.carrier.bring(batch);
    const taken: string[] = [];
    for (const [place, row] of batch.entries()) {
      const outcome = outcomes[place];
      if (outcome && "refused" in outcome) {
        const { status, code, detail, errors } = outcome.refused;
        const why = JSON.stringify({ status, code, detail, errors });
        await db.query(this.#mark, [row.position, why]);
        onRefused?.(row.id, outcome.refused);
      } else if (outcome) {
        taken.push(row.position);
      }
    }
    if (taken.length > 0) await db.query(this.#remove, [taken]);
    return taken.length;
  }

  /** Waits; whoever wakes it ends the wait, but for the pause after a failure. */
  async #sleep(ms: number, whole: boolean): Promise<void> {
    if (this.#stopping || (this.#woken && !whole)) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
      this.#wake = () => {
        if (!whole || this.#stopping) resolve();
      };
    });
    clearTimeout(timer);
    this.#wake = null;
  }
}
