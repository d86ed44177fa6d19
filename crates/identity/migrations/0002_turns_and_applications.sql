CREATE TABLE identity_turn (
    name TEXT PRIMARY KEY,
    taken BIGINT NOT NULL
);

CREATE TABLE identity_application (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    asked_at BIGINT NOT NULL,
    decided_at BIGINT
);

CREATE INDEX identity_application_by_state ON identity_application (state, id)
