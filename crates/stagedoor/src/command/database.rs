//! `database`: moves everything into another one (`keep::moving`), or takes that back. And `grants`: what each process may do in PostgreSQL, made from the statements of the rooms
//! and of the vault: printed, or applied as the owner.

use std::path::Path;

use anyhow::Context as _;
use store::{Db, Grants, Need, Needs, Options, Role};

use crate::cli::{DatabaseCommand, GrantRoles};
use crate::config::Loaded;
use crate::keep::moving;
use crate::out;
use crate::rooms::rooms;

/// Runs a `database` command.
pub(crate) async fn run(file: &Path, command: DatabaseCommand) -> anyhow::Result<()> {
    let loaded = super::act(file)?;
    match command {
        DatabaseCommand::Grants { apply, roles, owners } => {
            grants(&loaded.owned_by(owners), &roles, apply).await
        }
        DatabaseCommand::Move { to, keys_to, dry_run } => {
            moving::run(loaded, &moving::Wanted { to, keys_to, dry_run }).await
        }
        DatabaseCommand::Stay => moving::stay(&loaded).await,
    }
}

/// Prints or applies the grants.
async fn grants(loaded: &Loaded, roles: &GrantRoles, apply: bool) -> anyhow::Result<()> {
    let data = loaded.config.data.database_url.as_deref().filter(|url| is_postgres(url));
    let data = data.context("grants are PostgreSQL's: data.database_url names no such database")?;
    let keys = loaded.config.data.keys_database_url.as_deref().filter(|url| is_postgres(url));
    anyhow::ensure!(
        keys.is_none_or(|keys| place(keys) != place(data)),
        "data and keys are in one database: nobody could be kept from the keys"
    );
    let mut shown = serde_json::Map::new();
    for (what, url) in [("data", Some(data)), ("keys", keys)] {
        let Some(url) = url else { continue };
        let grants = if what == "data" { of_data(url, roles)? } else { of_keys(url, roles)? };
        let lines = grants.lines();
        if apply {
            let db = Db::open(&Options::new(url)).await.context("the database cannot be opened")?;
            let applied = grants.apply(&db).await.with_context(|| {
                format!(
                    "the grants of the {what} were not applied: do the roles exist, and is \
                         this the owner?"
                )
            });
            db.close().await;
            applied?;
            out::say(format!("{}: {} grants are in force.", name_of(url), lines.len()));
        } else {
            out::say(format!("\\connect {}", name_of(url)));
            lines.iter().for_each(|line| out::say(format!("{line};")));
        }
        shown.insert(what.to_owned(), lines.into());
    }
    out::json(&serde_json::json!({ "applied": apply, "statements": shown }));
    Ok(())
}

/// Core may what its statements need; an auditor reads; everybody else has no business here.
fn of_data(url: &str, roles: &GrantRoles) -> anyhow::Result<Grants> {
    let needs = rooms()?.needs();
    let reads = |table: &String| (table.clone(), Need { select: true, ..Need::default() });
    let auditor: Needs = needs.keys().map(reads).collect();
    let mut grants = Grants::new(name_of(url))?.with(roles.core.parse()?, needs);
    if let Some(role) = &roles.auditor {
        grants = grants.with(role.parse()?, auditor);
    }
    shut_out(grants, [&roles.edge, &roles.keyholder])
}

/// Core alone, though all that it finds here is wrapped.
fn of_keys(url: &str, roles: &GrantRoles) -> anyhow::Result<Grants> {
    let grants = Grants::new(name_of(url))?.with(roles.core.parse()?, vault::needs());
    shut_out(grants, [&roles.edge, &roles.keyholder, &roles.auditor])
}

fn shut_out<const N: usize>(
    mut grants: Grants,
    roles: [&Option<String>; N],
) -> anyhow::Result<Grants> {
    for role in roles.into_iter().flatten() {
        grants = grants.with(role.parse::<Role>()?, Needs::new());
    }
    Ok(grants)
}

pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres:") || url.starts_with("postgresql:")
}

/// Server and database, whoever asks.
fn place(url: &str) -> &str {
    let (_, place) = url.split_once("://").unwrap_or(("", url));
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    place.split_once('?').map_or(place, |(place, _)| place)
}

fn name_of(url: &str) -> &str {
    place(url).rsplit_once('/').map_or("", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use kernel::{Clock as _, SystemClock};

    use super::*;

    const WHO: [&str; 4] = ["core", "keyholder", "edge", "auditor"];

    /// What one who took over a process would try, in the data and in the keys.
    const TRIES: &[(&str, &str)] = &[
        ("data", "SELECT id FROM identity_account LIMIT 1"),
        ("data", "SELECT idx FROM spine_leaf LIMIT 1"),
        ("data", "UPDATE spine_leaf SET body = NULL WHERE idx < 0"),
        ("data", "UPDATE spine_leaf SET leaf = leaf WHERE idx < 0"),
        ("data", "UPDATE spine_leaf SET entry = entry, mac = mac WHERE idx < 0"),
        ("data", "DELETE FROM spine_leaf WHERE idx < 0"),
        ("data", "TRUNCATE spine_leaf"),
        ("data", "UPDATE spine_checkpoint SET note = note WHERE size < 0"),
        ("data", "DELETE FROM spine_checkpoint WHERE size < 0"),
        ("data", "DELETE FROM spine_tile WHERE level < 0"),
        ("data", "DELETE FROM access_revision WHERE number < 0"),
        ("data", "UPDATE access_revision SET author = author WHERE number < 0"),
        ("data", "UPDATE identity_account SET id = id WHERE version < 0"),
        ("data", "DELETE FROM identity_account WHERE version < 0"),
        ("data", "UPDATE store_migration SET mark = 0 WHERE version < 0"),
        ("data", "ALTER TABLE spine_leaf ADD COLUMN more BIGINT"),
        ("data", "ALTER TABLE spine_leaf DISABLE TRIGGER ALL"),
        ("data", "DROP TABLE spine_leaf"),
        ("data", "CREATE TABLE mine (id BIGINT)"),
        ("data", "CREATE TEMP TABLE mine (id BIGINT)"),
        ("data", "CREATE SCHEMA mine"),
        ("data", "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
        ("data", "CREATE ROLE mine"),
        ("data", "COPY spine_leaf TO PROGRAM 'cat'"),
        ("data", "SELECT pg_read_file('/etc/passwd')"),
        ("data", "SET ROLE postgres"),
        ("keys", "SELECT wrapped FROM key_subject LIMIT 1"),
        ("keys", "SELECT wrapped FROM key_epoch LIMIT 1"),
        ("keys", "UPDATE key_subject SET key_id = key_id WHERE state = 0"),
        ("keys", "UPDATE key_subject SET subject = subject WHERE state = 0"),
        ("keys", "UPDATE key_vault SET name = name WHERE id = 0"),
        ("keys", "UPDATE key_purpose SET public_key = public_key WHERE version = 0"),
        ("keys", "DELETE FROM key_purpose WHERE version = 0"),
        ("keys", "DELETE FROM key_vault WHERE id = 0"),
        ("keys", "TRUNCATE key_subject CASCADE"),
        ("keys", "DROP TABLE key_subject"),
        ("keys", "CREATE TABLE mine (id BIGINT)"),
    ];

    /// Runs a statement as the server's superuser, outside of a transaction.
    async fn order(url: &str, text: String) {
        let db = Db::open(&Options::new(url)).await.unwrap();
        let mut reader = db.read().await.unwrap();
        for text in ["SET default_transaction_read_only = off", text.leak()] {
            reader.rows(text, Vec::new()).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        }
        drop(reader);
        db.close().await;
    }

    /// The same database as another role.
    fn as_role(url: &str, role: &str) -> String {
        format!("postgres://{role}@{}", place(url))
    }

    async fn attempt(url: &str, role: &str, text: &'static str) -> &'static str {
        let options = Options { connections: 1, ..Options::new(as_role(url, role)) };
        let refused = |error: store::Error| {
            let error = format!("{error:?}");
            assert!(error.contains("\"42501\""), "{role}: {text}: {error}");
        };
        let db = match Db::open(&options).await {
            Ok(db) => db,
            Err(error) => {
                refused(error);
                return "no way in";
            }
        };
        let mut tx = db.begin().await.unwrap();
        let said = match tx.rows(text, Vec::new()).await {
            Ok(_) => "may",
            Err(error) => {
                refused(error);
                "denied"
            }
        };
        drop(tx);
        db.close().await;
        said
    }

    /// Two databases with their schemas, and four roles with their grants.
    async fn furnish(data: &str, keys: &str, roles: &GrantRoles) {
        for (url, migrations) in
            [(data, rooms().unwrap().migrations()), (keys, vault::MIGRATIONS.to_vec())]
        {
            let db = Db::open(&Options::new(url)).await.unwrap();
            store::migrate(&db, &migrations, SystemClock.now()).await.unwrap();
            let grants = if url == data { of_data(url, roles) } else { of_keys(url, roles) };
            // twice: what is in force is put in force again
            let grants = grants.unwrap();
            grants.apply(&db).await.unwrap();
            grants.apply(&db).await.unwrap();
            db.close().await;
        }
    }

    fn roles() -> GrantRoles {
        let named = |who: &str| format!("sd_{who}_{}", std::process::id());
        GrantRoles {
            core: named("core"),
            edge: Some(named("edge")),
            keyholder: Some(named("keyholder")),
            auditor: Some(named("auditor")),
        }
    }

    fn by_name(roles: &GrantRoles) -> [String; 4] {
        let name = |role: &Option<String>| role.clone().unwrap();
        [roles.core.clone(), name(&roles.keyholder), name(&roles.edge), name(&roles.auditor)]
    }

    /// Both databases and the roles, for one test.
    fn with_roles(test: impl AsyncFnOnce(&str, &str, &GrantRoles)) {
        testkit::with_postgres(|data| {
            testkit::with_postgres(|keys| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let roles = roles();
                    for role in by_name(&roles) {
                        order(data, format!("CREATE ROLE {role} LOGIN")).await;
                    }
                    furnish(data, keys, &roles).await;
                    test(data, keys, &roles).await;
                    for role in by_name(&roles) {
                        order(data, format!("DROP OWNED BY {role}")).await;
                        order(keys, format!("DROP OWNED BY {role}")).await;
                        order(data, format!("DROP ROLE {role}")).await;
                    }
                });
            });
        });
    }

    #[test]
    fn each_role_is_denied_what_it_does_not_need() {
        with_roles(async |data, keys, roles| {
            let names = by_name(roles);
            let mut matrix = String::new();
            for (place, text) in TRIES {
                let url = if *place == "data" { data } else { keys };
                let mut line = format!("{place} | {text}\n    ");
                for (who, role) in WHO.iter().zip(&names) {
                    let _ = write!(line, " {who}: {} ", attempt(url, role, text).await);
                }
                matrix.push_str(line.trim_end());
                matrix.push('\n');
            }
            insta::assert_snapshot!("denied", matrix);
        });
    }

    /// How many values a statement takes.
    fn values(text: &str) -> usize {
        let numbers = text.split('$').skip(1).filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse().ok()
        });
        numbers.max().unwrap_or(0)
    }

    /// The server checks what a role may when a statement is about to run, so it is let plan each.
    async fn all_run(url: &str, role: &str, statements: &[store::Statement]) -> usize {
        let options = Options { connections: 1, ..Options::new(as_role(url, role)) };
        let db = Db::open(&options).await.unwrap();
        for (number, statement) in statements.iter().enumerate() {
            let nulls = vec!["NULL"; values(statement.text)].join(", ");
            let nulls = if nulls.is_empty() { nulls } else { format!("({nulls})") };
            let mut tx = db.begin().await.unwrap();
            for text in [
                format!("PREPARE s{number} AS {}", statement.text),
                format!("EXPLAIN EXECUTE s{number}{nulls}"),
            ] {
                let text: &'static str = text.leak();
                let ran = tx.rows(text, Vec::new()).await;
                assert!(ran.is_ok(), "{}: {:?}", statement.name, ran.unwrap_err());
            }
            tx.rollback().await.unwrap();
        }
        db.close().await;
        statements.len()
    }

    #[test]
    fn core_may_run_every_statement_and_needs_each_grant() {
        with_roles(async |data, keys, roles| {
            let ours = rooms().unwrap().statements();
            assert!(all_run(data, &roles.core, &ours).await > 100);
            assert!(all_run(keys, &roles.core, &vault::statements()).await > 20);
            // The test can fail: without one grant, one statement does not run.
            order(data, format!("REVOKE DELETE ON spine_outbox FROM {}", roles.core)).await;
            let moved = "DELETE FROM spine_outbox WHERE id IS NULL";
            assert_eq!(attempt(data, &roles.core, moved).await, "denied");
        });
    }

    #[test]
    fn a_place_is_the_server_and_the_database() {
        let url = "postgres://who:what@db.internal:5433/shop?sslmode=require";
        assert_eq!((place(url), name_of(url)), ("db.internal:5433/shop", "shop"));
    }
}
