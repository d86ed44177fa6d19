/**
 * Facts of the shop as the API has them (`POST /v1/facts`, `GET /v1/facts/kinds`): the types only.
 */

/** A value of a field. Amounts are whole numbers of the currency's minor unit. */
export type FieldValue = string | number | boolean | readonly string[];

/**
 * Fields by kind. Those of the configuration can be added:
 * `declare module "@stagedoor/sdk" { interface FactFields { "loyalty.joined": { tier: string } } }`
 */
export interface FactFields {
  "order.paid": {
    order: string;
    amount_minor: number;
    currency: string;
    items?: number;
    creator?: string;
    code?: string;
    stream?: string;
  };
  "order.refunded": {
    order: string;
    refund?: string;
    amount_minor: number;
    currency: string;
    whole?: boolean;
    reason?: string;
  };
  "product.changed": {
    product: string;
    change: "made" | "price" | "stock" | "text" | "removed";
    price_minor?: number;
    currency?: string;
    stock?: number;
    seller?: string;
  };
  "chat.sent": { message: string; room: string; text: string };
}

/** One fact. */
export interface Fact<K extends string> {
  /** The shop's own id of it, 1 to 128 bytes: the same id is taken once. */
  id: string;
  /** Its kind. */
  kind: K;
  /** When it happened (RFC 3339); when it is taken, where left out. */
  at?: Date | string;
  /** The customer's account (`usr_…`), for kinds about a customer. */
  account?: string;
  /** The shop's own reference of the customer instead of the account. */
  customer?: string;
  /** The version of the thing after the change, 1 or more, where the shop counts them. */
  version?: number;
  /** The fields of the kind. */
  fields: K extends keyof FactFields ? FactFields[K] : { readonly [name: string]: FieldValue };
}

/** A fact that was taken, now or before. */
export interface TakenFact {
  /** The shop's id of it. */
  readonly id: string;
  /** The event that tells it, `evt_…`. */
  readonly event: string;
}

/** A kind of fact. */
export interface FactKind {
  readonly name: string;
  readonly says: string;
  readonly about: "customer" | "nobody";
  readonly thing?: string | null;
  readonly field?: readonly FactField[];
  readonly retain_days?: number;
}

/** A field of a kind. */
export interface FactField {
  readonly name: string;
  readonly type:
    | "text"
    | "id"
    | "account"
    | "ids"
    | "int"
    | "amount"
    | "flag"
    | "word"
    | "currency"
    | "time";
  readonly optional?: boolean;
  readonly personal?: boolean;
  readonly words?: readonly string[];
  readonly max_bytes?: number;
}
