CREATE TABLE wishes_wish (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    account BYTEA NOT NULL CHECK (length(account) = 16),
    text_sealed BYTEA NOT NULL,
    made_at BIGINT NOT NULL,
    dropped_at BIGINT
);

CREATE INDEX wishes_wish_by_account ON wishes_wish (account, id);

CREATE TABLE wishes_pace (
    account BYTEA NOT NULL CHECK (length(account) = 16),
    hour BIGINT NOT NULL,
    made BIGINT NOT NULL,
    PRIMARY KEY (account, hour)
);
