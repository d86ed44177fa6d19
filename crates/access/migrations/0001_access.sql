-- What is in force at the edge, and what was: a row for each version of each section.

CREATE TABLE access_revision (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    number BIGINT NOT NULL UNIQUE CHECK (number > 0),
    author BYTEA CHECK (author IS NULL OR length(author) = 16),
    added BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    removed BIGINT NOT NULL,
    applied_at BIGINT NOT NULL
);

CREATE TABLE access_config (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    section TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    from_revision BIGINT NOT NULL,
    to_revision BIGINT CHECK (to_revision IS NULL OR to_revision > from_revision)
);

CREATE UNIQUE INDEX access_config_in_force ON access_config (section, name)
    WHERE to_revision IS NULL;

-- Blocked networks. At most one block of a network is active.
CREATE TABLE access_block (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    day BIGINT NOT NULL,
    net_index BYTEA NOT NULL CHECK (length(net_index) = 32),
    net_sealed BYTEA NOT NULL,
    reason_sealed BYTEA NOT NULL,
    rule TEXT NOT NULL,
    source TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'lifted', 'expired')),
    created_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL,
    ended_at BIGINT,
    CHECK ((state = 'active') = (ended_at IS NULL))
);

CREATE UNIQUE INDEX access_block_active ON access_block (net_index) WHERE state = 'active';

CREATE INDEX access_block_due ON access_block (until_at) WHERE state = 'active';

CREATE INDEX access_block_ended ON access_block (ended_at);

-- How often a client met a rule in a minute, by keyed digest.
CREATE TABLE access_seen (
    bucket BYTEA PRIMARY KEY CHECK (length(bucket) = 32),
    rule TEXT NOT NULL,
    minute BIGINT NOT NULL,
    seen BIGINT NOT NULL
);

CREATE INDEX access_seen_minute ON access_seen (minute);

-- The shop's own services, by the digest of their keys.
CREATE TABLE access_service (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    name TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('live', 'test')),
    secret_hash BYTEA NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE TABLE access_service_use (
    service BYTEA PRIMARY KEY CHECK (length(service) = 16),
    used_at BIGINT NOT NULL
);

-- Which facts of the shop were taken, so that none is taken twice.
CREATE TABLE access_fact (
    fact_index BYTEA PRIMARY KEY CHECK (length(fact_index) = 16),
    body_index BYTEA NOT NULL CHECK (length(body_index) = 16),
    event BYTEA NOT NULL CHECK (length(event) = 16),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE INDEX access_fact_expiry ON access_fact (expires_at);
