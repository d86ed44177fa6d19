//! V5, V8: eight tasks and two processes do the same things at once.

use std::sync::Arc;

use kernel::{AccountId, SystemEntropy};
use tokio::task::JoinSet;
use vault::{Error, Subject, Vault};

use crate::world::{PLACE, both, open};

fn numbered(task: u8, number: u8) -> Subject {
    let mut id = [0; 16];
    id[0] = task;
    id[1] = number;
    Subject::Account(AccountId::from_bytes(id))
}

async fn finish<T: 'static>(mut tasks: JoinSet<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.push(done.expect("no task panics"));
    }
    all
}

// V5
#[test]
fn eight_tasks_make_seal_and_shred_the_same_subjects() {
    both(async |world| {
        let first = world.init().await;
        let vaults = [first.clone(), world.open().await];
        let mut tasks = JoinSet::new();
        for task in 0..8u8 {
            let vault = vaults[usize::from(task % 2)].clone();
            tasks.spawn(async move {
                let mut sealed = Vec::new();
                for number in 0..20 {
                    let subject = numbered(0, number);
                    match vault.create(subject).await {
                        Ok(()) | Err(Error::Erased) => {}
                        Err(other) => panic!("{other}"),
                    }
                    vault.resolve(&[subject]).await.unwrap();
                    match vault.seal(subject, PLACE, &[number], &SystemEntropy) {
                        Ok(value) => sealed.push((subject, value)),
                        Err(Error::Erased | Error::Unresolved) => {}
                        Err(other) => panic!("{other}"),
                    }
                    if number % 2 == task % 2 && number % 3 == 0 {
                        vault.shred(subject).await.unwrap();
                        vault.resolve(&[subject]).await.unwrap();
                        let late = vault.seal(subject, PLACE, b"late", &SystemEntropy);
                        assert!(matches!(late, Err(Error::Erased)), "{late:?}");
                    }
                }
                sealed
            });
        }
        let sealed: Vec<_> = finish(tasks).await.into_iter().flatten().collect();
        world.clock.pass(100);
        let erased = |subject: Subject| (0..20).step_by(3).any(|n| numbered(0, n) == subject);
        for vault in vaults {
            for (subject, value) in &sealed {
                match open(&vault, *subject, value).await {
                    Ok(_) => assert!(!erased(*subject), "{subject:?} was shredded"),
                    Err(Error::Erased) => assert!(erased(*subject), "{subject:?} was not"),
                    Err(other) => panic!("{other}"),
                }
            }
            vault.close().await;
        }
    });
}

// V5, V8
#[test]
fn keys_that_are_made_during_epoch_rotations_stay() {
    both(async |world| {
        let first = world.init().await;
        let vaults = Arc::new([first.clone(), world.open().await]);
        let mut tasks = JoinSet::new();
        for task in 0..6u8 {
            let vaults = Arc::clone(&vaults);
            tasks.spawn(async move {
                let vault: &Vault = &vaults[usize::from(task % 2)];
                let mut sealed = Vec::new();
                for number in 0..40 {
                    let subject = numbered(task, number);
                    vault.create(subject).await.unwrap();
                    vault.resolve(&[subject]).await.unwrap();
                    let value = vault.seal(subject, PLACE, &[number], &SystemEntropy).unwrap();
                    if number % 5 == 0 {
                        vault.shred(subject).await.unwrap();
                    }
                    sealed.push((subject, value));
                }
                sealed
            });
        }
        for task in 0..2 {
            let vaults = Arc::clone(&vaults);
            tasks.spawn(async move {
                for _ in 0..3 {
                    vaults[task].rotate_epoch(&|_| ()).await.unwrap();
                }
                Vec::new()
            });
        }
        let sealed: Vec<_> = finish(tasks).await.into_iter().flatten().collect();
        assert_eq!(sealed.len(), 240);
        for vault in vaults.iter() {
            vault.close().await;
        }
        let vault = world.open().await;
        let shredded = |subject: Subject| {
            (0..6).any(|task| (0..40).step_by(5).any(|n| numbered(task, n) == subject))
        };
        for (subject, value) in &sealed {
            match open(&vault, *subject, value).await {
                Ok(_) => assert!(!shredded(*subject), "{subject:?} was shredded"),
                Err(Error::Erased) => assert!(shredded(*subject), "{subject:?} was not"),
                Err(other) => panic!("{other}"),
            }
        }
        vault.rotate_epoch(&|_| ()).await.unwrap();
        assert_eq!(world.epoch_files().len(), 1);
        vault.close().await;
    });
}
