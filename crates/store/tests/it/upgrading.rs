//! Programs and schemas of different ages (S8): a newer schema carries an older program where it says
//! so; a database that is held carries none.

use kernel::Timestamp;
use store::{Db, Migration, args};

use crate::{SCHEMA, both};

const ADDED: Migration = Migration {
    version: 2,
    name: "test/0002_added",
    text: "-- runs with: 0.1.0\nALTER TABLE item ADD COLUMN nick TEXT",
};
const CHANGED: Migration =
    Migration { version: 3, name: "test/0003_changed", text: "ALTER TABLE item DROP COLUMN ratio" };
const LATER: Migration = Migration {
    version: 4,
    name: "test/0004_later",
    text: "-- runs with: 999.0.0\nCREATE TABLE later (id BIGINT PRIMARY KEY)",
};

fn program(steps: &[Migration]) -> Vec<Migration> {
    [SCHEMA, steps].concat()
}

async fn migrate(db: &Db, steps: &[Migration]) {
    store::migrate(db, &program(steps), Timestamp::from_micros(1)).await.unwrap();
}

both! {
    // S8
    async fn an_older_program_runs_on_what_was_added(db: &Db) {
        migrate(db, &[ADDED]).await;
        let standing = store::standing(db, SCHEMA).await.unwrap();
        assert!(standing.missing.is_empty());
        assert_eq!(standing.newer.len(), 1);
        assert_eq!(standing.newer[0].name, ADDED.name);
        // it may even be asked to migrate, and has nothing to do
        migrate(db, &[]).await;
        crate::add(db, 1).await.unwrap();
    }

    // S8
    async fn an_older_program_is_refused_by_what_was_changed(db: &Db) {
        migrate(db, &[ADDED, CHANGED]).await;
        let refused = store::standing(db, SCHEMA).await.unwrap_err().to_string();
        assert!(refused.contains("test/0003_changed"), "{refused}");
        let refused = store::migrate(db, SCHEMA, Timestamp::from_micros(1)).await.unwrap_err();
        assert!(refused.to_string().contains("newer program"), "{refused}");
    }

    // S8
    async fn a_step_for_programs_to_come_is_not_for_this_one(db: &Db) {
        migrate(db, &[LATER]).await;
        assert!(store::standing(db, SCHEMA).await.is_err());
        assert!(store::standing(db, &program(&[LATER])).await.is_ok());
    }

    // S8
    async fn a_database_of_before_steps_said_so_is_brought_forward(db: &Db) {
        let mut tx = db.begin().await.unwrap();
        tx.run("ALTER TABLE store_migration DROP COLUMN least", args![]).await.unwrap();
        tx.commit().await.unwrap();
        assert!(store::pending(db, SCHEMA).await.unwrap().is_empty());
        assert_eq!(store::pending(db, &program(&[ADDED])).await.unwrap().len(), 1);
        migrate(db, &[ADDED]).await;
        assert_eq!(store::standing(db, SCHEMA).await.unwrap().newer.len(), 1);
    }

    // S8
    async fn what_is_held_is_refused_until_it_is_released(db: &Db) {
        store::hold(db, "it was moved", Timestamp::from_micros(1)).await.unwrap();
        store::hold(db, "it was moved away", Timestamp::from_micros(1)).await.unwrap();
        assert_eq!(store::held(db).await.unwrap().as_deref(), Some("it was moved away"));
        let refused = store::pending(db, SCHEMA).await.unwrap_err().to_string();
        assert!(refused.contains("it was moved away"), "{refused}");
        assert!(store::migrate(db, SCHEMA, Timestamp::from_micros(1)).await.is_err());
        store::release(db).await.unwrap();
        assert_eq!(store::held(db).await.unwrap(), None);
        assert!(store::pending(db, SCHEMA).await.unwrap().is_empty());
    }
}
