-- The nodes that serve on this database, each by its own word.
CREATE TABLE spine_node (
    node TEXT PRIMARY KEY,
    place BYTEA NOT NULL CHECK (length(place) = 32),
    run TEXT NOT NULL,
    program TEXT NOT NULL,
    schema_version BIGINT NOT NULL,
    config TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    report TEXT NOT NULL
);
