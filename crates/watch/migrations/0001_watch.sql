-- Alerts. account and day say whose key opens details_sealed; with neither, the house's does.
CREATE TABLE watch_alert (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    rule TEXT NOT NULL,
    severity TEXT NOT NULL,
    state TEXT NOT NULL,
    verdict TEXT,
    key_index BYTEA CHECK (length(key_index) = 16),
    account BYTEA CHECK (length(account) = 16),
    day BIGINT,
    times BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    details_sealed BYTEA,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    closed_at BIGINT
);
CREATE INDEX watch_alert_key ON watch_alert (rule, key_index, last_at);
CREATE INDEX watch_alert_age ON watch_alert (last_at);
CREATE INDEX watch_alert_state ON watch_alert (state, id);
CREATE INDEX watch_alert_account ON watch_alert (account);

-- Answers: asked, dry_run, or withheld and why.
CREATE TABLE watch_answer (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    alert BYTEA CHECK (length(alert) = 16),
    rule TEXT NOT NULL,
    action TEXT NOT NULL,
    state TEXT NOT NULL,
    account BYTEA CHECK (length(account) = 16),
    day BIGINT,
    target_index BYTEA CHECK (length(target_index) = 16),
    target_sealed BYTEA,
    asked_at BIGINT NOT NULL,
    until_at BIGINT
);
CREATE INDEX watch_answer_alert ON watch_answer (alert);
CREATE INDEX watch_answer_age ON watch_answer (asked_at);
CREATE INDEX watch_answer_state ON watch_answer (state, id);
CREATE INDEX watch_answer_target ON watch_answer (target_index, asked_at);
CREATE INDEX watch_answer_account ON watch_answer (account);

-- The one off switch: one row once it was first turned.
CREATE TABLE watch_switch (
    id BYTEA PRIMARY KEY CHECK (length(id) = 16),
    version BIGINT NOT NULL,
    stopped SMALLINT NOT NULL,
    changed_at BIGINT NOT NULL
);

-- One row: who holds it may answer, or turn the switch.
CREATE TABLE watch_gate (
    id SMALLINT PRIMARY KEY CHECK (id = 1),
    passed BIGINT NOT NULL
);

CREATE TABLE watch_budget (
    name TEXT NOT NULL,
    hour BIGINT NOT NULL,
    used BIGINT NOT NULL,
    PRIMARY KEY (name, hour)
);

CREATE TABLE watch_tally (
    rule TEXT NOT NULL,
    hour BIGINT NOT NULL,
    fired BIGINT NOT NULL,
    asked BIGINT NOT NULL,
    dry BIGINT NOT NULL,
    withheld BIGINT NOT NULL,
    PRIMARY KEY (rule, hour)
);

CREATE TABLE watch_rule (
    name TEXT PRIMARY KEY,
    since BIGINT NOT NULL
);

CREATE TABLE watch_window (
    rule TEXT NOT NULL,
    mark BYTEA NOT NULL CHECK (length(mark) = 16),
    last_at BIGINT NOT NULL,
    state_sealed BYTEA NOT NULL,
    PRIMARY KEY (rule, mark)
);
CREATE INDEX watch_window_age ON watch_window (rule, last_at);

CREATE TABLE watch_state (
    id SMALLINT PRIMARY KEY CHECK (id = 1),
    stamp BYTEA NOT NULL CHECK (length(stamp) = 16),
    next_index BIGINT NOT NULL
);

-- Persons who were erased, until alerts and answers about them are blanked.
CREATE TABLE watch_erased (
    account BYTEA PRIMARY KEY CHECK (length(account) = 16)
);
