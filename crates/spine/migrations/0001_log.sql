-- Events of committed transactions that have no leaf number yet.
CREATE TABLE spine_outbox (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    subject BYTEA,
    aggregate TEXT NOT NULL,
    aggregate_id BYTEA NOT NULL CHECK (length(aggregate_id) = 16),
    version BIGINT NOT NULL,
    entry BYTEA NOT NULL,
    body BYTEA,
    leaf BYTEA NOT NULL CHECK (length(leaf) = 32),
    mac BYTEA NOT NULL CHECK (length(mac) = 16)
);

-- The log: one row a leaf, numbered densely from 0. `entry` is what the leaf hashes and stays for
-- ever; `body` may be deleted, `subject` may be cut. `mac` shows that the spine wrote it.
CREATE TABLE spine_leaf (
    idx BIGINT PRIMARY KEY,
    id BYTEA NOT NULL CHECK (length(id) = 16),
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    subject BYTEA,
    aggregate TEXT NOT NULL,
    aggregate_id BYTEA NOT NULL CHECK (length(aggregate_id) = 16),
    version BIGINT NOT NULL,
    entry BYTEA NOT NULL,
    body BYTEA,
    leaf BYTEA NOT NULL CHECK (length(leaf) = 32),
    mac BYTEA NOT NULL CHECK (length(mac) = 16)
);
CREATE UNIQUE INDEX spine_leaf_id ON spine_leaf (id);
CREATE INDEX spine_leaf_subject ON spine_leaf (subject, idx);

-- The tree, in tiles of up to 256 hashes (C2SP tlog-tiles).
CREATE TABLE spine_tile (
    level SMALLINT NOT NULL,
    idx BIGINT NOT NULL,
    width SMALLINT NOT NULL,
    bytes BYTEA NOT NULL,
    PRIMARY KEY (level, idx)
);

-- The tree's head and the sequencer's lease: one row.
CREATE TABLE spine_head (
    id SMALLINT PRIMARY KEY CHECK (id = 1),
    origin TEXT NOT NULL,
    size BIGINT NOT NULL,
    frontier BYTEA NOT NULL,
    epoch BIGINT NOT NULL,
    holder TEXT NOT NULL,
    lease_until BIGINT NOT NULL,
    note TEXT NOT NULL,
    note_size BIGINT NOT NULL,
    note_at BIGINT NOT NULL
);

-- Signed checkpoints kept for later proofs of consistency: one a minute at the most.
CREATE TABLE spine_checkpoint (
    size BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    note TEXT NOT NULL
);

-- The last checkpoint that each node found consistent, with the node's signature.
CREATE TABLE spine_cosignature (
    node TEXT PRIMARY KEY,
    size BIGINT NOT NULL,
    at BIGINT NOT NULL,
    note TEXT NOT NULL
);

-- How far each consumer has read.
CREATE TABLE spine_cursor (
    name TEXT PRIMARY KEY,
    idx BIGINT NOT NULL
);
