-- The key database: wrapped keys only. It stands apart from the data, and from the data's backups.

CREATE TABLE key_vault (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    name BYTEA NOT NULL CHECK (length(name) = 16),
    day_horizon BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- The tenant's key of each epoch that is not over, under the epoch's key.
CREATE TABLE key_epoch (
    tenant BYTEA NOT NULL CHECK (length(tenant) = 16),
    epoch BIGINT NOT NULL CHECK (epoch > 0),
    wrapped BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, epoch)
);

-- One row for each person and day: live (1) with a wrapped key, or a tombstone (2) without.
-- The foreign key lets no row hang on an epoch that is over, whoever races whom.
CREATE TABLE key_subject (
    tenant BYTEA NOT NULL CHECK (length(tenant) = 16),
    subject BYTEA NOT NULL CHECK (length(subject) = 17),
    key_id BYTEA NOT NULL CHECK (length(key_id) = 16),
    epoch BIGINT,
    wrapped BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    erased_at BIGINT,
    state SMALLINT NOT NULL CHECK (state IN (1, 2)),
    PRIMARY KEY (tenant, subject),
    FOREIGN KEY (tenant, epoch) REFERENCES key_epoch (tenant, epoch),
    CHECK ((state = 1 AND epoch IS NOT NULL AND erased_at IS NULL)
        OR (state = 2 AND epoch IS NULL AND erased_at IS NOT NULL AND length(wrapped) = 0))
);

CREATE INDEX key_subject_epoch ON key_subject (tenant, epoch, subject);

-- The installation's own keys, in versions. An ended signing key keeps its row, without the key.
CREATE TABLE key_purpose (
    tenant BYTEA NOT NULL CHECK (length(tenant) = 16),
    purpose TEXT NOT NULL,
    version BIGINT NOT NULL CHECK (version > 0),
    key_id BYTEA NOT NULL CHECK (length(key_id) = 16),
    epoch BIGINT,
    wrapped BYTEA NOT NULL,
    public_key BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    retire_at BIGINT,
    uses BIGINT NOT NULL,
    PRIMARY KEY (tenant, purpose, version),
    FOREIGN KEY (tenant, epoch) REFERENCES key_epoch (tenant, epoch),
    CHECK ((epoch IS NULL) = (length(wrapped) = 0))
);
