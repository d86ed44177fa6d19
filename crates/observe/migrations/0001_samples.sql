CREATE TABLE observe_sample (
    node TEXT NOT NULL,
    at BIGINT NOT NULL,
    free_bytes BIGINT NOT NULL,
    total_bytes BIGINT NOT NULL,
    database_bytes BIGINT NOT NULL,
    PRIMARY KEY (node, at)
);
