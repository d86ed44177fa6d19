//! V5, V7: keys of persons and days are made, found, forgotten and destroyed.

use std::time::Duration;

use kernel::{AccountId, SystemEntropy};
use vault::{Error, Subject, Vault};

use crate::world::{NOON, PLACE, account, both, open, seal};

// V5
#[test]
fn a_shredded_subject_stays_erased() {
    both(async |world| {
        let vault = world.init().await;
        vault.create(account(1)).await.unwrap();
        let sealed = seal(&vault, account(1), b"secret");
        world.clock.pass(5);
        let receipt = vault.shred(account(1)).await.unwrap();
        assert!(receipt.now);
        assert_eq!(
            (receipt.created_at, receipt.erased_at.since(NOON)),
            (NOON, Duration::from_secs(5))
        );
        assert_eq!(receipt.final_after_epoch, 1);
        // At once, in the memory of this process too.
        assert!(vault.open_sealed(account(1), PLACE, &sealed).is_err());
        assert!(matches!(open(&vault, account(1), &sealed).await, Err(Error::Erased)));
        assert!(matches!(vault.create(account(1)).await, Err(Error::Erased)));
        world.clock.pass(5);
        let again = vault.shred(account(1)).await.unwrap();
        assert!(!again.now);
        assert_eq!((again.key, again.erased_at), (receipt.key, receipt.erased_at));
        vault.close().await;
        let vault = world.open().await;
        assert!(matches!(open(&vault, account(1), &sealed).await, Err(Error::Erased)));
        assert!(matches!(vault.create(account(1)).await, Err(Error::Erased)));
        let rows = world.sql("SELECT wrapped, state FROM key_subject", Vec::new()).await;
        assert_eq!((rows.len(), rows[0].int("state").unwrap()), (1, 2));
        assert!(rows[0].bytes("wrapped").unwrap().is_empty());
        vault.close().await;
    });
}

// V5
#[test]
fn one_who_never_had_a_key_is_erased_as_well() {
    both(async |world| {
        let vault = world.init().await;
        assert!(vault.shred(account(1)).await.unwrap().now);
        assert!(matches!(vault.create(account(1)).await, Err(Error::Erased)));
        assert!(matches!(vault.shred(Subject::House).await, Err(Error::NotErasable)));
        vault.close().await;
    });
}

// V5
#[test]
fn another_process_stops_within_twice_recheck() {
    both(async |world| {
        let (here, there) = (world.init().await, world.open().await);
        here.create(account(1)).await.unwrap();
        let sealed = seal(&here, account(1), b"secret");
        assert_eq!(open(&there, account(1), &sealed).await.unwrap(), b"secret");
        here.shred(account(1)).await.unwrap();
        // It does not know yet; it will ask after 30 s, and has forgotten after 60 s.
        assert!(there.open_sealed(account(1), PLACE, &sealed).is_ok());
        world.clock.pass(61);
        let late = there.open_sealed(account(1), PLACE, &sealed);
        assert!(matches!(late, Err(Error::Unresolved)));
        assert!(matches!(open(&there, account(1), &sealed).await, Err(Error::Erased)));
        here.close().await;
        there.close().await;
    });
}

#[test]
fn unknown_accounts_are_not_erased_ones() {
    both(async |world| {
        let vault = world.init().await;
        vault.resolve(&[account(1)]).await.unwrap();
        let sealed = vault.seal(account(1), PLACE, b"x", &SystemEntropy);
        assert!(matches!(sealed, Err(Error::Unresolved)));
        vault.create(account(1)).await.unwrap();
        vault.create(account(1)).await.unwrap();
        assert_eq!(open(&vault, account(1), &seal(&vault, account(1), b"x")).await.unwrap(), b"x");
        vault.close().await;
    });
}

// V5
#[test]
fn days_are_made_on_demand_and_retired_for_good() {
    both(async |world| {
        let (vault, other) = (world.init().await, world.open().await);
        let today = NOON.day();
        let days: Vec<Subject> = (today - 3..=today).map(Subject::Day).collect();
        vault.resolve(&days).await.unwrap();
        other.resolve(&days).await.unwrap();
        let sealed: Vec<_> = days.iter().map(|day| seal(&vault, *day, b"203.0.113.9")).collect();
        // Both made or found the same keys.
        assert_eq!(open(&other, days[1], &sealed[1]).await.unwrap(), b"203.0.113.9");
        assert_eq!(vault.retire_days(today - 1).await.unwrap(), 2);
        assert!(matches!(open(&vault, days[0], &sealed[0]).await, Err(Error::Erased)));
        assert!(matches!(open(&vault, days[1], &sealed[1]).await, Err(Error::Erased)));
        assert_eq!(open(&vault, days[2], &sealed[2]).await.unwrap(), b"203.0.113.9");
        // A process that did not hear of it makes no new key for the old day.
        world.clock.pass(120);
        assert!(matches!(open(&other, days[0], &sealed[0]).await, Err(Error::Erased)));
        // Whatever is asked for, the present day stays.
        vault.retire_days(today + 10).await.unwrap();
        assert_eq!(open(&vault, days[3], &sealed[3]).await.unwrap(), b"203.0.113.9");
        vault.close().await;
        other.close().await;
    });
}

// V7
#[test]
fn many_subjects_in_a_small_cache() {
    both(async |world| {
        world.init().await.close().await;
        let mut config = world.config();
        config.tuning.cache_keys = 200;
        let vault = Vault::open(config).await.unwrap();
        let number = |n: u16| {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&n.to_be_bytes());
            Subject::Account(AccountId::from_bytes(id))
        };
        let mut sealed = Vec::new();
        for n in 0..300 {
            vault.create(number(n)).await.unwrap();
            sealed.push(seal(&vault, number(n), &n.to_be_bytes()));
            assert!(vault.cached().0 <= 200);
        }
        let all: Vec<Subject> = (0..300).map(number).collect();
        assert!(matches!(vault.resolve(&all).await, Err(Error::TooMany { limit: 100 })));
        for (chunk, values) in all.chunks(100).zip(sealed.chunks(100)) {
            vault.resolve(chunk).await.unwrap();
            for (subject, value) in chunk.iter().zip(values) {
                vault.open_sealed(*subject, PLACE, value).unwrap();
            }
        }
        vault.close().await;
    });
}
