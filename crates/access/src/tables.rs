//! The tables of this room, declared: what each column holds, whose it is, why, what erasure does.

spine::tables! {
    /// One change of what is in force at the edge.
    access_revision: fact {
        subject = "author", purpose = "to know who changed the gate, and to go back",
        retain = "for ever", erase = keep("names its author by account id only"),
        columns {
            id: Id, version: Version, number: Plain, author: Plain, added: Plain, changed: Plain,
            removed: Plain, applied_at: Time
        }
    }
    /// One version of one section of the edge's configuration: an upstream, a limit, a route.
    access_config: fact {
        subject = "", purpose = "to tell the edge where requests go", retain = "for ever",
        erase = keep("no person's"),
        columns {
            id: Id, version: Version, section: Plain, name: Plain, body: Plain,
            from_revision: Plain, to_revision: Plain
        }
    }
    /// A blocked network of clients, sealed under the key of the day on which it was blocked.
    access_block: fact {
        subject = "", purpose = "to turn away clients that attack",
        retain = "30 days after its end",
        erase = keep("sealed under the key of its day, which retention destroys"),
        columns {
            id: Id, version: Version, day: Plain, net_index: BlindIndex, net_sealed: Sealed,
            reason_sealed: Sealed, rule: Plain, source: Plain, state: Plain, created_at: Time,
            until_at: Time, ended_at: Time
        }
    }
    /// How often a client met a rule in a minute.
    access_seen: upkeep {
        subject = "", purpose = "to tell a flood once, and not each of its requests",
        retain = "2 hours", erase = keep("keyed digests that nobody can be found by"),
        columns { bucket: BlindIndex, rule: Plain, minute: Plain, seen: Plain }
    }
    /// A service of the shop, with the digest of its key.
    access_service: fact {
        subject = "", purpose = "to let the shop's backend in", retain = "for ever",
        erase = keep("no person's"),
        columns {
            id: Id, version: Version, name: Plain, mode: Plain, secret_hash: SecretHash,
            scopes: Plain, created_at: Time, revoked_at: Time
        }
    }
    /// When a service's key was last used.
    access_service_use: upkeep {
        subject = "", purpose = "to find keys that nobody uses", retain = "with its service",
        erase = keep("no person's"),
        columns { service: Id, used_at: Time }
    }
    /// A fact of the shop that was taken: its id and its contents as keyed digests, and its event.
    access_fact: upkeep {
        subject = "", purpose = "to take each fact of the shop once",
        retain = "access.facts.replay_h after it was taken",
        erase = keep("keyed digests that nobody can be found by"),
        columns {
            fact_index: BlindIndex, body_index: BlindIndex, event: Plain, created_at: Time,
            expires_at: Time
        }
    }
}
