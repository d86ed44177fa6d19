-- The checkpoint that strangers are shown, with the signatures of outside witnesses: one row.
CREATE TABLE spine_published (
    id SMALLINT PRIMARY KEY CHECK (id = 1),
    origin TEXT NOT NULL,
    size BIGINT NOT NULL,
    at BIGINT NOT NULL,
    note TEXT NOT NULL
);

-- A node's public key, and the mark by which the program vouches that it is this node's.
ALTER TABLE spine_cosignature ADD COLUMN key BYTEA;
ALTER TABLE spine_cosignature ADD COLUMN mac BYTEA;
