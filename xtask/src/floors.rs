//! Who may import whom. The house has floors: a crate imports only what its floor may see, rooms
//! on one floor never import each other, and the edge cannot reach the database at all. The table
//! is here; `cargo metadata` is held against it, and any other edge fails.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::graph::{Dependency, Graph};
use crate::house::House;
use crate::say;

/// Where a crate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Floor {
    /// Values that all share.
    Kernel,
    /// Pure machinery without IO: can be tested, fuzzed and published alone.
    Engine,
    /// The only crate that speaks SQL to a driver.
    Store,
    /// Events, transactions, the log.
    Spine,
    /// Keys; holds its own key database, so it may see the store.
    Vault,
    /// HTTP manners. The edge imports it, so it may see neither spine nor vault.
    Web,
    /// The data plane: hostile bytes, and no way to the database.
    Edge,
    /// A room of the core.
    Room,
    /// Pages for operators: sees the rooms.
    Console,
    /// The binary: wires all.
    Binary,
    /// The world for tests: a dev-dependency, never more.
    Kit,
    /// Checks, measurements, fuzzing: see all, and nobody sees them.
    Tool,
}

const FLOORS: &[(&str, Floor)] = &[
    ("kernel", Floor::Kernel),
    ("merkle", Floor::Engine),
    ("meter", Floor::Engine),
    ("seclang", Floor::Engine),
    ("textfilter", Floor::Engine),
    ("gbdt", Floor::Engine),
    ("playlist", Floor::Engine),
    ("store", Floor::Store),
    ("spine", Floor::Spine),
    ("vault", Floor::Vault),
    ("web", Floor::Web),
    ("edge", Floor::Edge),
    ("access", Floor::Room),
    ("identity", Floor::Room),
    ("payments", Floor::Room),
    ("cardvault", Floor::Room),
    ("ledger", Floor::Room),
    ("live", Floor::Room),
    ("moderation", Floor::Room),
    ("chat", Floor::Room),
    ("privacy", Floor::Room),
    ("watch", Floor::Room),
    ("observe", Floor::Room),
    // the example of docs/ADDING-A-ROOM.md
    ("wishes", Floor::Room),
    ("console", Floor::Console),
    ("stagedoor", Floor::Binary),
    ("testkit", Floor::Kit),
    ("xtask", Floor::Tool),
    ("bench", Floor::Tool),
    ("fuzz-targets", Floor::Tool),
];

/// Crates from outside that only some of ours may import, and why.
const RESERVED: &[(&str, &[&str], &str)] =
    &[("sqlx", &["store"], "SQL goes through store, so that one text runs on both databases")];

/// The step.
///
/// # Errors
/// Names each edge that the table does not allow.
pub(crate) fn check(house: &House) -> Result<String> {
    let graph = Graph::read(house)?;
    let edges = graph.direct();
    let wrong = violations(&graph.members(), &edges);
    for text in &wrong {
        say::line(format!("error: {text}"));
    }
    if !wrong.is_empty() {
        bail!("{} edges that the table in xtask/src/floors.rs does not allow", wrong.len());
    }
    Ok(format!("{} edges of {} crates", edges.len(), graph.members().len()))
}

fn violations(members: &[String], edges: &[Dependency]) -> Vec<String> {
    let floors: BTreeMap<&str, Floor> = FLOORS.iter().copied().collect();
    let mut wrong: Vec<String> = members
        .iter()
        .filter(|name| !floors.contains_key(name.as_str()))
        .map(|name| format!("`{name}` has no floor: give it one in xtask/src/floors.rs"))
        .collect();
    // a crate that names itself does so for the doors it opens to its own tests only
    for edge in edges.iter().filter(|edge| edge.from != edge.to) {
        let (Some(from), to) = (floors.get(edge.from.as_str()), floors.get(edge.to.as_str()))
        else {
            continue;
        };
        let reason = match to {
            Some(to) if members.contains(&edge.to) => refusal(*from, *to, edge.dev),
            _ => reserved(edge),
        };
        if let Some(reason) = reason {
            wrong.push(format!("`{}` imports `{}`: {reason}", edge.from, edge.to));
        }
    }
    wrong
}

/// Why this edge may not be, or nothing where it may.
fn refusal(from: Floor, to: Floor, dev: bool) -> Option<&'static str> {
    use Floor::{Binary, Console, Edge, Engine, Kernel, Kit, Room, Spine, Store, Tool, Vault, Web};
    let seen: &[Floor] = match from {
        Kernel => &[],
        Engine => &[Kernel],
        Store | Web => &[Kernel, Engine],
        Spine => &[Kernel, Engine, Store],
        Vault => &[Kernel, Engine, Store, Spine],
        Edge => &[Kernel, Engine, Web],
        Room => &[Kernel, Engine, Spine, Vault, Web],
        Console => &[Kernel, Engine, Spine, Vault, Web, Room],
        Kit => &[Kernel, Engine, Store, Spine, Vault, Web],
        Binary => &[Kernel, Engine, Store, Spine, Vault, Web, Edge, Room, Console],
        Tool => &[Kernel, Engine, Store, Spine, Vault, Web, Edge, Room, Console, Binary, Kit],
    };
    // what the kit is built of is tested in the world that the kit makes
    let in_its_world = matches!((from, to), (Store | Spine, Spine | Vault));
    if seen.contains(&to) || (dev && (to == Kit || in_its_world)) {
        return None;
    }
    Some(match (from, to) {
        (_, Kit) => "the kit is for tests: a dev-dependency only",
        (_, Tool) => "nobody imports a tool",
        (Edge, _) => "the edge imports kernel, engines and web, and can reach no database",
        (Room, Room) => {
            "rooms on one floor never import each other: meet by an event, or by a small trait \
             of the room that needs it, wired in the binary"
        }
        (Room | Console, Store) => "only the spine depends on the store: use spine's reads",
        (Web, _) => "the edge imports web, so web may see kernel and engines only",
        _ => "a floor imports only the floors that the table shows it",
    })
}

fn reserved(edge: &Dependency) -> Option<&'static str> {
    RESERVED
        .iter()
        .find(|(name, owners, _)| *name == edge.to && !owners.contains(&edge.from.as_str()))
        .map(|(_, _, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(edges: &[(&str, &str, bool)]) -> Vec<String> {
        let mut members: Vec<String> = FLOORS.iter().map(|(name, _)| (*name).to_owned()).collect();
        members.retain(|name| name != "gbdt");
        let edges: Vec<Dependency> = edges
            .iter()
            .map(|(from, to, dev)| Dependency {
                from: (*from).to_owned(),
                to: (*to).to_owned(),
                dev: *dev,
            })
            .collect();
        violations(&members, &edges)
    }

    #[test]
    fn the_house_as_drawn_is_allowed() {
        let edges = [
            ("merkle", "kernel", false),
            ("store", "kernel", false),
            ("spine", "store", false),
            ("spine", "merkle", false),
            ("vault", "spine", false),
            ("vault", "store", false),
            ("web", "kernel", false),
            ("edge", "web", false),
            ("identity", "vault", false),
            ("identity", "testkit", true),
            ("spine", "vault", true),
            ("console", "identity", false),
            ("stagedoor", "edge", false),
            ("stagedoor", "store", false),
            ("bench", "stagedoor", false),
            ("store", "sqlx", false),
            ("identity", "serde", false),
        ];
        assert_eq!(judged(&edges), Vec::<String>::new());
    }

    #[test]
    fn each_forbidden_arrow_is_named() {
        for (from, to, dev) in [
            ("kernel", "merkle", false),
            ("merkle", "store", false),
            ("store", "spine", false),
            ("spine", "vault", false),
            ("web", "spine", false),
            ("web", "vault", true),
            ("edge", "spine", false),
            ("edge", "store", true),
            ("edge", "vault", false),
            ("edge", "access", false),
            ("identity", "watch", false),
            ("access", "identity", true),
            ("identity", "store", false),
            ("console", "store", false),
            ("console", "edge", false),
            ("identity", "testkit", false),
            ("testkit", "identity", false),
            ("stagedoor", "xtask", false),
            ("identity", "stagedoor", false),
            ("identity", "sqlx", false),
            ("stagedoor", "sqlx", true),
        ] {
            let wrong = judged(&[(from, to, dev)]);
            assert_eq!(wrong.len(), 1, "{from} -> {to}");
            assert!(wrong[0].starts_with(&format!("`{from}` imports `{to}`: ")), "{wrong:?}");
        }
    }

    #[test]
    fn a_crate_without_a_floor_is_refused() {
        let wrong = violations(&["parlour".to_owned()], &[]);
        assert_eq!(wrong, ["`parlour` has no floor: give it one in xtask/src/floors.rs"]);
    }

    #[test]
    fn a_crate_from_outside_that_bears_our_name_is_not_ours() {
        assert_eq!(judged(&[("edge", "gbdt", false)]), Vec::<String>::new());
    }
}
