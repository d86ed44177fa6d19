/**
 * Tells facts from memory: gathers what comes at the same time into batches, in order, and says of
 * each fact what became of it. What must survive this process belongs into the outbox instead.
 */
import {
  BATCH_BYTES_MAX,
  BATCH_MAX,
  batchOf,
  Carrier,
  type CarrierOptions,
  type Outcome,
  pack,
  type Packed,
} from "./carrier.js";
import type { Fact, FactKind, TakenFact } from "./fact.js";

/** How facts are told. */
export interface FactsOptions extends CarrierOptions {
  /** How long the first fact of a batch waits for others, ms. Default 20. */
  lingerMs?: number;
  /** Facts that may wait. Default 10,000. */
  queueMax?: number;
  /** Bytes of facts that may wait. Default 16 MiB. */
  queueMaxBytes?: number;
}

/** Too many facts wait, or no more are taken. */
export class QueueError extends Error {
  override readonly name = "QueueError";
  constructor(readonly code: "full" | "closed") {
    super(code === "full" ? "too many facts wait: try again later" : "no more facts are taken");
  }
}

interface Waiting extends Packed {
  resolve(taken: TakenFact): void;
  reject(error: unknown): void;
}

/** Tells facts. */
export class Facts {
  readonly #carrier: Carrier;
  readonly #lingerMs: number;
  readonly #queueMax: number;
  readonly #queueMaxBytes: number;
  #queue: Waiting[] = [];
  /** Bytes that wait or are on their way. */
  #bytes = 0;
  #held = 0;
  #timer: NodeJS.Timeout | null = null;
  #running: Promise<void> | null = null;
  #closed = false;

  /** @throws {TypeError} for an address or a key that is none. */
  constructor(options: FactsOptions) {
    this.#carrier = new Carrier(options);
    this.#lingerMs = options.lingerMs ?? 20;
    this.#queueMax = options.queueMax ?? 10_000;
    this.#queueMaxBytes = options.queueMaxBytes ?? 16 * 1024 * 1024;
  }

  /** How many facts wait or are on their way. */
  get waiting(): number {
    return this.#held;
  }

  /**
   * Tells a fact. What it returns is kept when the fact is in the house, now or before.
   *
   * Rejects with {@link ProblemError} (the fact or the key is refused), {@link UnreachableError}
   * (nobody answered, as often as it was tried), {@link QueueError}.
   */
  tell<K extends string>(fact: Fact<K>): Promise<TakenFact> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw new QueueError("closed");
      const packed = pack(fact as Fact<string>);
      const full =
        this.#held >= this.#queueMax || this.#bytes + packed.bytes > this.#queueMaxBytes;
      if (full) throw new QueueError("full");
      this.#queue.push({ ...packed, resolve, reject });
      this.#held += 1;
      this.#bytes += packed.bytes;
      this.#start();
    });
  }

  /** Sends what waits now, and returns when all of it is settled, one way or the other. */
  async flush(): Promise<void> {
    this.#run();
    while (this.#running) await this.#running;
  }

  /** Takes no more facts, settles those that wait, and lets the connections go. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.flush();
    this.#carrier.close();
  }

  /** The kinds of fact that the door takes. */
  kinds(): Promise<FactKind[]> {
    return this.#carrier.kinds();
  }

  /** @internal For the outbox, which has a queue of its own. */
  get carrier(): Carrier {
    return this.#carrier;
  }

  #start(): void {
    if (this.#running) return;
    // Nothing is on its way here, so all bytes are the queue's.
    const full = this.#queue.length >= BATCH_MAX || this.#bytes >= BATCH_BYTES_MAX;
    if (full) this.#run();
    else this.#timer ??= setTimeout(() => this.#run(), this.#lingerMs);
  }

  #run(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#running || this.#queue.length === 0) return;
    this.#running = this.#work().finally(() => {
      this.#running = null;
      // A fact that came between the last look and now.
      if (this.#queue.length > 0) this.#run();
    });
  }

  /** One batch after the other, so that facts arrive in the order in which they were told. */
  async #work(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = batchOf(this.#queue);
      this.#queue = this.#queue.slice(batch.length);
      await this.#settle(batch);
      this.#held -= batch.length;
      for (const one of batch) this.#bytes -= one.bytes;
    }
  }

  async #settle(batch: readonly Waiting[]): Promise<void> {
    let outcomes: Outcome[];
    try {
      outcomes = await this.#carrier.bring(batch);
    } catch (error) {
      for (const one of batch) one.reject(error);
      return;
    }
    batch.forEach((one, place) => {
      const outcome = outcomes[place];
      if (outcome && "taken" in outcome) one.resolve(outcome.taken);
      else one.reject(outcome?.refused);
    });
  }
}
