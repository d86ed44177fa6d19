CREATE TABLE identity_account (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    roles TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    email_index BYTEA UNIQUE,
    email_sealed BYTEA,
    name_sealed BYTEA,
    external_index BYTEA UNIQUE,
    external_sealed BYTEA,
    fresh_after BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    verified_at BIGINT,
    erased_at BIGINT
);

CREATE TABLE identity_password (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    hash_sealed BYTEA NOT NULL,
    changed_at BIGINT NOT NULL
);

CREATE TABLE identity_ticket (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    account BYTEA NOT NULL CHECK (length(account) = 16),
    purpose TEXT NOT NULL,
    secret_hash BYTEA NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    payload_sealed BYTEA,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);

CREATE INDEX identity_ticket_by_account ON identity_ticket (account);

CREATE INDEX identity_ticket_by_end ON identity_ticket (expires_at);

CREATE TABLE identity_session (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    account BYTEA NOT NULL CHECK (length(account) = 16),
    epoch BIGINT NOT NULL,
    client TEXT NOT NULL,
    secret_hash BYTEA NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    origin_sealed BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    auth_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    ended_at BIGINT,
    end_reason TEXT
);

CREATE INDEX identity_session_by_account ON identity_session (account, ended_at);

CREATE INDEX identity_session_by_end ON identity_session (ends_at);

CREATE TABLE identity_session_use (
    session BYTEA PRIMARY KEY CHECK (length(session) = 16),
    account BYTEA NOT NULL CHECK (length(account) = 16),
    used_at BIGINT NOT NULL
);

CREATE INDEX identity_session_use_by_account ON identity_session_use (account);

CREATE TABLE identity_refresh (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    account BYTEA NOT NULL CHECK (length(account) = 16),
    generation BIGINT NOT NULL,
    nonce BYTEA NOT NULL CHECK (length(nonce) = 16),
    token_hash BYTEA NOT NULL CHECK (length(token_hash) = 32),
    rotated_at BIGINT NOT NULL,
    idle_until BIGINT NOT NULL
);

CREATE INDEX identity_refresh_by_account ON identity_refresh (account);

CREATE TABLE identity_revocation (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    scope TEXT NOT NULL,
    account BYTEA NOT NULL CHECK (length(account) = 16),
    before_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL
);

CREATE INDEX identity_revocation_by_end ON identity_revocation (until_at);

CREATE TABLE identity_attempt (
    bucket BYTEA PRIMARY KEY CHECK (length(bucket) = 32),
    full_at BIGINT NOT NULL
);

CREATE INDEX identity_attempt_by_end ON identity_attempt (full_at);

CREATE TABLE identity_mail (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    account BYTEA NOT NULL CHECK (length(account) = 16),
    template TEXT NOT NULL,
    day BIGINT,
    sealed BYTEA NOT NULL,
    state TEXT NOT NULL,
    tries BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    sent_at BIGINT
);

CREATE INDEX identity_mail_by_turn ON identity_mail (state, next_at);

CREATE INDEX identity_mail_by_account ON identity_mail (account)
