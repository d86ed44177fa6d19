//! Erasing a person as `identity` does it, for rooms that must forget with it: the event, then the
//! key, then the link between the person and the log.

use kernel::{AccountId, Actor};
use spine::{About, Erase, Subject};
use store::args;

use crate::World;

spine::events! {
    room = "identity";
    /// Stands in for the event of `identity`.
    AccountErased = "account_erased" {
        plain { kind: String, ended: u64 } sealed { } retain_days = 2555, ocsf = 3001
    }
}

impl World {
    /// Erases a person: tells `identity.account_erased`, destroys the key, cuts the link to the
    /// person's events, and lets the spine delete what is declared `erase = delete`. Afterwards `event.account()` of each of them is none; that of
    /// `identity.account_erased` too, whose `aggregate_id` still is the account.
    ///
    /// # Panics
    /// Where the vault or the database does not answer.
    pub async fn erase(&self, person: AccountId) {
        self.vault.resolve(&[Subject::Account(person)]).await.expect("a key");
        let ctx = self.ctx(Actor::Account { id: person, session: None });
        let mut tx = self.spine.begin(&ctx).await.expect("a transaction");
        let event = AccountErased { kind: "customer".to_owned(), ended: 0 };
        tx.emit(About::account(person, 0), event).expect("told");
        tx.commit().await.expect("committed");
        self.spine.sequence().await.expect("leaves");
        self.vault.shred(Subject::Account(person)).await.expect("no key");
        self.spine.cut_subject(person).await.expect("no link");
        self.spine.sequence().await.expect("leaves");
        self.spine.consume(&spine::Erasure).await.expect("deleted");
        self.spine.sequence().await.expect("leaves");
    }

    /// Which tables that erasure deletes from still have rows of this person, and how many: to be
    /// empty once the room's consumers, where a table is left to one, have read the erasure.
    ///
    /// # Panics
    /// Where the database does not answer.
    pub async fn rows_left_of(&self, person: AccountId) -> Vec<(&'static str, i64)> {
        let db = self.attacker().await;
        let mut read = db.read().await.expect("a connection");
        let mut left = Vec::new();
        for table in &self.tables {
            if !matches!(table.erase, Erase::Delete | Erase::DeleteIn(_)) {
                continue;
            }
            let name = table.name;
            let theirs = table.subjects.join(" = $1 OR ");
            let count = format!("SELECT COUNT(*) AS found FROM {name} WHERE {theirs} = $1");
            // A test's few statements may leak: their text must outlive the connection's cache.
            let count: &'static str = Box::leak(count.into_boxed_str());
            let rows = read.rows(count, args![person.as_bytes()]).await.expect("a number");
            let found = rows[0].int("found").expect("a number");
            if found > 0 {
                left.push((name, found));
            }
        }
        drop(read);
        db.close().await;
        left
    }
}
