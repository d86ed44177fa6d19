//! V4: whoever has the key database and the keyholder folder, but not the root, has nothing.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kernel::Secret;
use vault::{Purpose, Root, Subject, Vault};

use crate::world::{World, account, both_here, seal};

const PASSPHRASE: &str = "canary-passphrase-of-the-root";

/// Every byte of the folder's files, and of the database.
async fn dump(world: &World) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut folders = vec![world.dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                bytes.extend(std::fs::read(path).unwrap());
            }
        }
    }
    for table in ["key_epoch", "key_subject", "key_purpose"] {
        let text: &'static str = format!("SELECT wrapped FROM {table}").leak();
        for row in world.sql(text, Vec::new()).await {
            bytes.extend(row.bytes("wrapped").unwrap());
        }
    }
    let publics = world.sql("SELECT public_key FROM key_purpose", Vec::new()).await;
    publics.iter().for_each(|row| bytes.extend(row.bytes("public_key").unwrap()));
    bytes
}

fn holds(dump: &[u8], needle: &[u8]) -> bool {
    dump.windows(needle.len()).any(|window| window == needle)
}

// V4
#[test]
fn a_dump_holds_no_key() {
    both_here(async |world| {
        let passphrase = Secret::new(PASSPHRASE.to_owned());
        let file = world.path("keyholder/root.json");
        let config = world.with_root(Root::Passphrase { file, passphrase });
        let vault = Vault::init(config.clone()).await.unwrap();
        for number in 0..20 {
            vault.create(account(number)).await.unwrap();
        }
        vault.resolve(&[Subject::Day(20_000)]).await.unwrap();
        vault.shred(account(3)).await.unwrap();
        vault.rotate(Purpose::Session).await.unwrap();
        vault.rotate_epoch(&|_| ()).await.unwrap();
        seal(&vault, account(1), b"canary-plain-text");
        // While it is open (the write-ahead log too), and after.
        let mut dumps = vec![dump(world).await];
        vault.close().await;
        dumps.push(dump(world).await);
        let keys = world.recorder.keys();
        // root, 2 epochs, 2 tenant keys, 8 purpose keys, 21 subject keys at least
        assert!(keys.len() >= 34, "{} keys were recorded", keys.len());
        for dump in dumps {
            assert!(dump.len() > 4096 || !world.is_sqlite());
            for key in &keys {
                assert!(!holds(&dump, key));
                assert!(!holds(&dump, STANDARD.encode(key).as_bytes()));
                assert!(!holds(&dump, URL_SAFE_NO_PAD.encode(key).as_bytes()));
                let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
                assert!(!holds(&dump, hex.as_bytes()));
            }
            assert!(!holds(&dump, b"canary"));
        }
    });
}

// V4: the search above would find a key if one were there
#[test]
fn the_search_finds_what_is_there() {
    both_here(async |world| {
        let vault = world.init().await;
        vault.close().await;
        let dump = dump(world).await;
        // The demo's bare key file holds the root key, base64: the first key that was made.
        assert!(holds(&dump, STANDARD.encode(world.recorder.keys()[0]).as_bytes()));
    });
}

// V4
#[test]
fn debug_shows_no_key() {
    both_here(async |world| {
        let passphrase = Secret::new(PASSPHRASE.to_owned());
        let file = world.path("keyholder/root.json");
        let config = world.with_root(Root::Passphrase { file, passphrase });
        let shown = format!("{config:?}");
        let vault = Vault::init(config).await.unwrap();
        let notary = vault.notary("log").unwrap();
        let signer = vault.signer("session").unwrap();
        let shown = format!("{shown}{vault:?}{notary:?}{signer:?}{:?}", vault.list().unwrap());
        assert!(!shown.contains("canary"));
        for key in world.recorder.keys() {
            assert!(!shown.contains(&format!("{key:?}")));
        }
        vault.close().await;
    });
}
