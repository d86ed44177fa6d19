/**
 * `@stagedoor/sdk`: what a shop behind Stagedoor needs. Who asks ({@link Guard},
 * {@link verifyIdentity}, {@link verifyToken}), telling facts ({@link Facts}, {@link Outbox}), and
 * the log from outside ({@link fetchCheckpoint}, {@link verifyProof}).
 */
export type { Patience } from "./carrier.js";
// All of it, because an interface can be added to from outside only through `*`.
export type * from "./fact.js";
export { Facts, type FactsOptions, QueueError } from "./facts.js";
export {
  type FastifyReply,
  Guard,
  type GuardOptions,
  type Known,
  type Middleware,
  type NodeRequest,
  type NodeResponse,
  type Wanted,
} from "./guard.js";
export { type Reach, UnreachableError } from "./http.js";
export {
  type AccountKind,
  type HeaderFields,
  type HeaderKey,
  type Identity,
  IdentityError,
  type IdentityFault,
  type IdentityOptions,
  LocalNonces,
  type NonceMemory,
  type SignedIdentity,
  SKEW_MAX_S,
  verifyIdentity,
} from "./identity.js";
export {
  type Entry,
  type FetchedCheckpoint,
  fetchCheckpoint,
  leafHash,
  nodeHash,
  type ProofOptions,
  type Proven,
  readEntry,
  verifyInclusion,
  verifyProof,
} from "./log.js";
export {
  type Checkpoint,
  parseVkey,
  ProofError,
  type Trust,
  type VerifierKey,
  verifyCheckpoint,
} from "./note.js";
export {
  Outbox,
  OutboxRelay,
  outboxSchema,
  type Queryable,
  type RelayOptions,
} from "./outbox.js";
export { type FieldError, type Problem, ProblemError } from "./problem.js";
export {
  type Jwks,
  TokenError,
  type TokenFault,
  type TokenIdentity,
  type TokenOptions,
  TokenVerifier,
  verifyToken,
} from "./token.js";
