CREATE TABLE identity_factor (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    account BYTEA NOT NULL CHECK (length(account) = 16),
    method TEXT NOT NULL,
    name_sealed BYTEA NOT NULL,
    secret_sealed BYTEA NOT NULL,
    last_step BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    confirmed_at BIGINT,
    used_at BIGINT
);

CREATE INDEX identity_factor_by_account ON identity_factor (account, confirmed_at);

CREATE TABLE identity_backup_code (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    account BYTEA NOT NULL CHECK (length(account) = 16),
    code_hash BYTEA NOT NULL UNIQUE CHECK (length(code_hash) = 32),
    created_at BIGINT NOT NULL,
    used_at BIGINT
);

CREATE INDEX identity_backup_code_by_account ON identity_backup_code (account, used_at);

CREATE TABLE identity_pending (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    account BYTEA NOT NULL CHECK (length(account) = 16),
    epoch BIGINT NOT NULL,
    client TEXT NOT NULL,
    methods TEXT NOT NULL,
    secret_hash BYTEA NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT
);

CREATE INDEX identity_pending_by_account ON identity_pending (account);

CREATE INDEX identity_pending_by_end ON identity_pending (expires_at);

CREATE TABLE identity_trusted_device (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    account BYTEA NOT NULL CHECK (length(account) = 16),
    epoch BIGINT NOT NULL,
    client TEXT NOT NULL,
    secret_hash BYTEA NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    before_hash BYTEA CHECK (length(before_hash) = 32),
    agent_sealed BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE INDEX identity_trusted_device_by_account ON identity_trusted_device (account);

CREATE INDEX identity_trusted_device_by_end ON identity_trusted_device (expires_at);

ALTER TABLE identity_session ADD COLUMN methods TEXT
