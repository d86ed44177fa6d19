//! The tables of this room, declared: what each column holds, whose it is, why, and what erasure
//! does.

spine::tables! {
    /// An account. Erasure leaves the bare row, so that what refers to it still means somebody.
    identity_account: fact {
        subject = "id", purpose = "to let a person sign in and be told apart",
        retain = "until erased", erase = blank_in("identity"),
        columns {
            id: Id, version: Version, kind: Plain, state: Plain, roles: Plain, epoch: Plain,
            email_index: BlindIndex, email_sealed: Sealed, name_sealed: Sealed,
            external_index: BlindIndex, external_sealed: Sealed, fresh_after: Time,
            created_at: Time, verified_at: Time, erased_at: Time
        }
    }
    /// The password of an account, as a sealed argon2id hash. Its id is the account's.
    identity_password: fact {
        subject = "id", purpose = "to prove who signs in", retain = "until erased", erase = delete,
        columns { id: Id, version: Version, hash_sealed: Sealed, changed_at: Time }
    }
    /// A link that was mailed: single use, short life; its secret stands here only as a digest.
    identity_ticket: fact {
        subject = "account", purpose = "to verify an address and to reset a password",
        retain = "7 days after its end", erase = delete,
        columns {
            id: Id, version: Version, account: Plain, purpose: Plain, secret_hash: SecretHash,
            payload_sealed: Sealed, created_at: Time, expires_at: Time, used_at: Time
        }
    }
    /// What an account holder applied to be: an influencer, a wholesaler. Its id is the account's.
    identity_application: fact {
        subject = "id", purpose = "to let the shop decide who sells", retain = "until erased",
        erase = delete,
        columns { id: Id, version: Version, kind: Plain, state: Plain, asked_at: Time, decided_at: Time }
    }
    /// A session: one sign-in on one device, in a browser or an app.
    identity_session: fact {
        subject = "account", purpose = "to keep a person signed in, and to show them where",
        retain = "30 days after its end", erase = delete,
        columns {
            id: Id, version: Version, account: Plain, epoch: Plain, client: Plain,
            secret_hash: SecretHash, origin_sealed: Sealed, created_at: Time, auth_at: Time,
            ends_at: Time, ended_at: Time, end_reason: Plain
        }
        added { methods: Plain }
    }
    /// A second factor: an authenticator app's key. One that was begun and never confirmed is none.
    identity_factor: fact {
        subject = "account", purpose = "to prove who signs in by more than a password",
        retain = "until taken away or erased; a day where it was never confirmed", erase = delete,
        columns {
            id: Id, version: Version, account: Plain, method: Plain, name_sealed: Sealed,
            secret_sealed: Sealed, last_step: Plain, created_at: Time, confirmed_at: Time,
            used_at: Time
        }
    }
    /// A backup code, as a keyed digest.
    identity_backup_code: fact {
        subject = "account", purpose = "to let a person in who lost the second factor",
        retain = "until replaced or erased", erase = delete,
        columns {
            id: Id, version: Version, account: Plain, code_hash: BlindIndex, created_at: Time,
            used_at: Time
        }
    }
    /// A device in which a second factor is not asked for.
    identity_trusted_device: fact {
        subject = "account", purpose = "not to ask for a second factor where its owner signed in before",
        retain = "until its end, taken away, or erased", erase = delete,
        columns {
            id: Id, version: Version, account: Plain, epoch: Plain, client: Plain,
            secret_hash: SecretHash, before_hash: SecretHash, agent_sealed: Sealed,
            created_at: Time, used_at: Time, expires_at: Time
        }
    }
    /// A sign-in that is half-way: a first factor was proved, and another is asked for.
    identity_pending: fact {
        subject = "account", purpose = "to ask for a second factor", retain = "7 days after its end",
        erase = delete,
        columns {
            id: Id, version: Version, account: Plain, epoch: Plain, client: Plain, methods: Plain,
            secret_hash: SecretHash, created_at: Time, expires_at: Time, ended_at: Time
        }
    }
    /// When a session was last used.
    identity_session_use: upkeep {
        subject = "account", purpose = "to end sessions that nobody uses, and to show their age",
        retain = "30 days after its end", erase = delete,
        columns { session: Id, account: Plain, used_at: Time }
    }
    /// The refresh tokens of one app's sign-in: only the present generation, as a digest.
    identity_refresh: fact {
        subject = "account", purpose = "to keep an app signed in", retain = "with its session",
        erase = delete,
        columns {
            id: Id, version: Version, account: Plain, generation: Plain, nonce: Plain,
            token_hash: SecretHash, rotated_at: Time, idle_until: Time
        }
    }
    /// Ended sessions whose signed tokens may still look alive: what a cold node loads first.
    identity_revocation: upkeep {
        subject = "account", purpose = "to refuse tokens of ended sessions everywhere",
        retain = "6 minutes", erase = keep("gone within minutes, and holds ids only"),
        columns { id: Id, scope: Plain, account: Plain, before_at: Time, until_at: Time }
    }
    /// Budgets of attempts, by keyed digests of what they are for.
    identity_attempt: upkeep {
        subject = "", purpose = "to slow down guessing", retain = "until the budget is full again",
        erase = keep("keyed digests that nobody can be found by"),
        columns { bucket: BlindIndex, full_at: Time }
    }
    /// Who changes what only one may change at a time: the row is held from the first look to the
    /// commit.
    identity_turn: upkeep {
        subject = "", purpose = "to let decisions about the same thing follow each other",
        retain = "for good", erase = keep("names of decisions, and how often they were taken"),
        columns { name: Plain, taken: Plain }
    }
    /// Mails that wait, went out, or were given up.
    identity_mail: upkeep {
        subject = "account", purpose = "to write to account holders",
        retain = "7 days after sending", erase = delete_in("identity"),
        columns {
            id: Id, account: Plain, template: Plain, day: Plain, sealed: Sealed, state: Plain,
            tries: Plain, next_at: Time, lease_until: Time, created_at: Time, sent_at: Time
        }
    }
}
