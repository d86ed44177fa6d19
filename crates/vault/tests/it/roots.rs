//! The root key: a passphrase, a key file, and files that others may read.

use std::os::unix::fs::PermissionsExt as _;

use kernel::{Kind, Refusal as _, Secret};
use vault::{Error, Root, Vault};

use crate::world::{World, account, both_here, open, seal};

fn passphrase(world: &World, words: &str) -> vault::Config {
    world.with_root(Root::Passphrase {
        file: world.path("keyholder/root.json"),
        passphrase: Secret::new(words.to_owned()),
    })
}

#[test]
fn only_the_passphrase_opens() {
    both_here(async |world| {
        let short = Vault::init(passphrase(world, "short")).await;
        assert!(matches!(short, Err(Error::WeakPassphrase { least: 12 })));
        let words = "correct horse battery";
        let vault = Vault::init(passphrase(world, words)).await.unwrap();
        vault.create(account(1)).await.unwrap();
        let sealed = seal(&vault, account(1), b"value");
        vault.close().await;
        let wrong = Vault::open(passphrase(world, "correct horse batterz")).await.unwrap_err();
        assert!(matches!(wrong, Error::RootRefused));
        assert_eq!((wrong.kind(), wrong.code()), (Kind::Forbidden, "vault.root_refused"));
        let vault = Vault::open(passphrase(world, words)).await.unwrap();
        assert_eq!(open(&vault, account(1), &sealed).await.unwrap(), b"value");
        assert_eq!(vault.facts(world.dir.path()).await.unwrap().root, "passphrase");
        vault.close().await;
        // Another root key beside the same folder.
        let config = world.with_root(Root::KeyFile { file: world.path("keyholder/other.key") });
        let text = format!("stagedoor-root-key-1:{}", "A".repeat(43) + "=");
        std::fs::write(world.path("keyholder/other.key"), text).unwrap();
        let exposed = Vault::open(config.clone()).await;
        assert!(matches!(exposed, Err(Error::Exposed { .. })), "{exposed:?}");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(world.path("keyholder/other.key"), private).unwrap();
        assert!(matches!(Vault::open(config).await, Err(Error::RootRefused)));
    });
}

#[test]
fn a_damaged_root_file_is_named() {
    both_here(async |world| {
        if !world.is_sqlite() {
            return;
        }
        let words = "correct horse battery";
        Vault::init(passphrase(world, words)).await.unwrap().close().await;
        let path = world.path("keyholder/root.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let damaged = [
            ("\"memory_kib\": 65536", "\"memory_kib\": 99999999"),
            ("argon2id", "md5"),
            ("\"passes\": 3", "\"passes\": 3, \"more\": 1"),
            ("{", "["),
        ];
        for (from, to) in damaged {
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let opened = Vault::open(passphrase(world, words)).await;
            assert!(matches!(opened, Err(Error::Malformed { .. })), "{to}: {opened:?}");
        }
        // Cheaper parameters: another key.
        std::fs::write(&path, text.replacen("\"passes\": 3", "\"passes\": 1", 1)).unwrap();
        let opened = Vault::open(passphrase(world, words)).await;
        assert!(matches!(opened, Err(Error::RootRefused)), "{opened:?}");
        std::fs::remove_file(&path).unwrap();
        let opened = Vault::open(passphrase(world, words)).await;
        assert!(matches!(opened, Err(Error::Missing { .. })), "{opened:?}");
    });
}

// V4
#[test]
fn key_files_are_private() {
    both_here(async |world| {
        world.init().await.close().await;
        let mode =
            |name: &str| std::fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("keyholder/epochs"), 0o700);
        assert_eq!(mode("keyholder/epochs/epoch-00000001.key"), 0o600);
        assert_eq!(mode("keyholder/root.key"), 0o600);
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(world.path("keyholder/epochs"), open).unwrap();
        assert!(matches!(Vault::open(world.config()).await, Err(Error::Exposed { .. })));
    });
}

#[test]
fn a_database_that_does_not_answer_is_no_fault_of_ours() {
    both_here(async |world| {
        world.init().await.close().await;
        let mut config = world.config();
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        config.database_url = format!("postgres://nobody:canary@127.0.0.1:{port}/none");
        assert!(!format!("{config:?}").contains("canary"));
        let error = Vault::open(config).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (Kind::Unavailable, "vault.store_unavailable"));
        assert!(!format!("{error} {}", error.refused().detail).contains("canary"));
    });
}
