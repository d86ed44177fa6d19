//! V10, V11: what a keyholder behind a socket refuses, counts and survives.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use kernel::{AccountId, Entropy, Kind, Refusal as _, Secret, SystemEntropy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use vault::{Caller, Error, Home, Keyholder, Opens, Purpose, Root, Subject, Vault};

use crate::world::{PLACE, World, account, both_remote, open, seal};

fn numbered(number: u16) -> Subject {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    Subject::Account(AccountId::from_bytes(id))
}

async fn keyholder(world: &World) -> Keyholder {
    let entropy = Arc::clone(&world.recorder) as Arc<dyn Entropy>;
    Keyholder::open(&world.home(), entropy).await.unwrap()
}

/// The keyholder is stopped and started anew, with this door.
async fn restart(world: &mut World, change: impl FnOnce(&mut vault::Door)) {
    world.kill_keyholder().await;
    let mut door = world.door(Opens { per_s: 1, burst: 1_000_000 });
    change(&mut door);
    let keyholder = keyholder(world).await;
    world.serve(keyholder, door).await;
}

/// Sends bytes as they are, and reads what comes back until the other side is done.
async fn raw(world: &World, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(world.path("run/socket")).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // What was not read makes the system call the end a reset.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn framed(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[1], length.as_slice(), text.as_bytes()].concat()
}

// V10
#[test]
fn no_more_keys_are_opened_than_the_budget_allows() {
    both_remote(async |world| {
        let vault = world.init().await;
        for number in 0..30 {
            vault.create(numbered(number)).await.unwrap();
        }
        let sealed = seal(&vault, numbered(0), b"value");
        vault.close().await;
        restart(world, |door| door.opens = Opens { per_s: 10, burst: 20 }).await;
        let vault = world.open().await;
        let all: Vec<Subject> = (0..30).map(numbered).collect();
        vault.resolve(&all[..20]).await.unwrap();
        let refused = vault.resolve(&all[20..]).await.unwrap_err();
        assert!(matches!(refused, Error::OpensLimited { retry_after_s: 2 }), "{refused}");
        assert_eq!((refused.kind(), refused.code()), (Kind::Unavailable, "vault.opens_limited"));
        // What is in memory goes on, also when its row is looked at again; so do new persons.
        assert_eq!(open(&vault, numbered(0), &sealed).await.unwrap(), b"value");
        vault.create(numbered(99)).await.unwrap();
        // Later there is room again.
        world.clock.pass(1);
        vault.resolve(&all[20..]).await.unwrap();
        vault.close().await;
    });
}

// V10
#[test]
fn a_key_in_memory_is_not_opened_again() {
    both_remote(async |world| {
        let vault = world.init().await;
        vault.create(account(1)).await.unwrap();
        let sealed = seal(&vault, account(1), b"value");
        world.kill_keyholder().await;
        // Its row is read again, its key is not asked for.
        world.clock.pass(100);
        assert_eq!(open(&vault, account(1), &sealed).await.unwrap(), b"value");
        vault.tend().await.unwrap();
        // Who is not in memory has to wait.
        let refused = vault.create(account(2)).await.unwrap_err();
        assert!(matches!(refused, Error::KeyholderAway { .. }), "{refused}");
        assert_eq!((refused.kind(), refused.code()), (Kind::Unavailable, "vault.keyholder_away"));
        // The keyholder comes back: nothing else needs to start anew.
        let (mut door, keyholder) =
            (world.door(Opens { per_s: 1, burst: 1_000 }), keyholder(world).await);
        door.counts = world.path("other.log");
        world.serve(keyholder, door).await;
        vault.create(account(2)).await.unwrap();
        vault.close().await;
    });
}

// V10
#[test]
fn only_the_caller_is_served_and_only_for_its_purposes() {
    both_remote(async |world| {
        world.init().await.close().await;
        let uid = world.uid();
        restart(world, |door| door.callers[0].uid = uid + 1).await;
        let mut config = world.config();
        let opened = Vault::open(config.clone()).await;
        assert!(matches!(opened, Err(Error::Denied { .. })), "{opened:?}");
        let purposes = vec![Purpose::Field, Purpose::Blind];
        restart(world, |door| door.callers = vec![Caller { uid, purposes }]).await;
        let opened = Vault::open(config.clone()).await.unwrap_err();
        assert!(matches!(opened, Error::Denied { .. }), "{opened}");
        assert!(opened.to_string().contains("purpose"), "{opened}");
        // Nobody there at all: told after the time, by name.
        world.kill_keyholder().await;
        if let vault::Where::Socket { wait, .. } = &mut config.keyholder {
            *wait = Duration::from_millis(300);
        }
        let opened = Vault::open(config).await.unwrap_err();
        assert!(matches!(opened, Error::KeyholderAway { .. }), "{opened}");
        assert!(opened.to_string().contains("stagedoor keyholder serve"), "{opened}");
    });
}

// V10, V11
#[test]
fn what_is_no_question_is_refused_and_counted_and_changes_nothing() {
    both_remote(async |world| {
        let vault = world.init().await;
        let before = world.epoch_files();
        let many = "{\"what\":{\"subject\":\"AQEBAQEBAQEBAQEBAQEBAQE=\"},\
             \"id\":\"key_00000000000000000000000000\"},";
        let many = format!(
            "{{\"make\":{{\"under\":{{\"tenant\":\"{}\",\"epochs\":[]}},\"names\":[{}]}}}}",
            vault::FIRST_TENANT,
            many.repeat(513).trim_end_matches(',')
        );
        for (bytes, said) in [
            (framed("{\"give_root\":{}}"), "an unknown question"),
            (framed("\"facts\" and more"), "an unknown question"),
            (framed("{\"remove_epoch\":{\"epoch\":1}}"), "the newest epoch is not destroyed"),
            (framed("{\"overwrite_epoch\":{\"epoch\":1}}"), "the newest epoch is not destroyed"),
            (framed("{\"add_epoch\":{\"epoch\":900}}"), "no such epoch can follow"),
            (framed(&many), "too_many"),
            ([&[1], u32::MAX.to_be_bytes().as_slice()].concat(), "too long"),
            (vec![7, 0, 0, 0, 2, b'{', b'}'], "another version"),
            (framed("\"facts\"")[..9].to_vec(), ""),
            (vec![1], ""),
        ] {
            let answer = raw(world, &bytes).await;
            assert!(answer.contains(said), "{said}: {answer}");
            assert!(answer.is_empty() == said.is_empty(), "{answer}");
        }
        assert!(raw(world, &framed("\"facts\"")).await.contains("key file"));
        assert_eq!(world.epoch_files(), before);
        vault.create(account(1)).await.unwrap();

        // The minute is over: one line, which core is told of.
        world.clock.pass(60);
        let minute = loop {
            let mut minutes = vault.minutes(0).await.unwrap();
            if let Some(minute) = minutes.pop() {
                break minute;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(minute.kinds["refused_request"], 10);
        assert_eq!((minute.refused, minute.opened), (10, 0));
        assert_eq!((minute.kinds["made"], minute.kinds["purposes"]), (8, 7));
        let lines = std::fs::read_to_string(world.path("opens.log")).unwrap();
        assert_eq!(lines.lines().count(), 1);
        assert!(lines.contains(&format!("\"{}\":", world.uid())), "{lines}");
        assert!(vault.minutes(minute.minute).await.unwrap().is_empty());
        vault.close().await;
    });
}

// V10: a row that was moved to another person opens nothing
#[test]
fn a_transplanted_row_is_refused_and_counted() {
    both_remote(async |world| {
        let vault = world.init().await;
        vault.create(account(1)).await.unwrap();
        vault.create(account(2)).await.unwrap();
        vault.close().await;
        world
            .sql(
                "UPDATE key_subject SET wrapped = (SELECT o.wrapped FROM key_subject o \
                 WHERE o.subject = $1), key_id = (SELECT o.key_id FROM key_subject o \
                 WHERE o.subject = $1) WHERE subject = $2",
                vec![account(1).to_bytes().into(), account(2).to_bytes().into()],
            )
            .await;
        let vault = world.open().await;
        vault.resolve(&[account(1)]).await.unwrap();
        assert!(matches!(vault.resolve(&[account(2)]).await, Err(Error::Forged)));
        vault.close().await;
    });
}

// V10
#[test]
fn a_client_that_hangs_costs_only_itself() {
    both_remote(async |world| {
        let vault = world.init().await;
        let mut hanging = Vec::new();
        for _ in 0..20 {
            let mut stream = UnixStream::connect(world.path("run/socket")).await.unwrap();
            stream.write_all(&[1, 0, 0]).await.unwrap();
            hanging.push(stream);
        }
        for number in 0..20 {
            vault.create(account(number)).await.unwrap();
        }
        // Cut off after its time, with a few seconds for a busy machine.
        let mut byte = [0];
        let cut = tokio::time::timeout(Duration::from_secs(30), hanging[0].read(&mut byte)).await;
        assert_eq!(cut.expect("it is cut off").unwrap_or(0), 0);
        vault.close().await;
    });
}

// V10
#[test]
fn the_socket_is_closed_to_strangers() {
    both_remote(async |world| {
        let mode =
            |name: &str| std::fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("run"), mode("run/socket")), (0o750, 0o660));
        // A second keyholder does not take the socket of one that answers.
        let door = world.door(Opens::default());
        let (other, never) = (keyholder(world).await, std::future::pending());
        let second = vault::serve(other, door.clone(), || (), never).await;
        assert!(matches!(second, Err(Error::File { what: "listen at", .. })), "{second:?}");
        world.kill_keyholder().await;
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(world.path("run"), open).unwrap();
        let (other, never) = (keyholder(world).await, std::future::pending());
        let exposed = vault::serve(other, door, || (), never).await;
        assert!(matches!(exposed, Err(Error::Exposed { .. })), "{exposed:?}");
    });
}

// V10: an epoch that was destroyed opens nothing, though its tenant key was in memory
#[test]
fn a_destroyed_epoch_is_forgotten_at_once() {
    both_remote(async |world| {
        let vault = world.init().await;
        vault.create(account(1)).await.unwrap();
        let row = "SELECT subject, key_id, wrapped FROM key_subject";
        let row = world.sql(row, Vec::new()).await.remove(0);
        let epoch = "SELECT wrapped FROM key_epoch";
        let epoch = world.sql(epoch, Vec::new()).await.remove(0).bytes("wrapped").unwrap();
        vault.rotate_epoch(&|_| ()).await.unwrap();
        let text = |bytes: Vec<u8>| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(bytes)
        };
        let ask = format!(
            "{{\"open\":{{\"under\":{{\"tenant\":\"{}\",\"epochs\":[{{\"number\":1,\"wrapped\":\
             \"{}\"}}]}},\"keys\":[{{\"name\":{{\"what\":{{\"subject\":\"{}\"}},\"id\":\"{}\"}},\
             \"epoch\":1,\"wrapped\":\"{}\"}}]}}}}",
            vault::FIRST_TENANT,
            text(epoch),
            text(row.bytes("subject").unwrap()),
            kernel::KeyId::from_bytes(row.id16("key_id").unwrap()),
            text(row.bytes("wrapped").unwrap()),
        );
        let answer = raw(world, &framed(&ask)).await;
        assert!(answer.contains("epoch_gone"), "{answer}");
        let value = vault.seal(account(1), PLACE, b"x", &SystemEntropy).unwrap();
        assert_eq!(open(&vault, account(1), &value).await.unwrap(), b"x");
        vault.close().await;
    });
}

// V4, V10, V11
#[test]
fn its_files_are_given_wrapped_to_the_caller_and_counted() {
    both_remote(async |world| {
        let vault = world.init().await;
        vault.create(account(1)).await.unwrap();
        // A bare root key is in no answer.
        let refused = vault.key_snapshot().await.unwrap_err();
        assert!(matches!(refused, Error::Denied { .. }), "{refused}");
        assert!(refused.to_string().contains("root.kind"), "{refused}");
        vault.close().await;
        // The same root, sealed by a passphrase.
        world.kill_keyholder().await;
        let code = vault::make_code(&world.home(), &SystemEntropy).unwrap();
        let file = world.path("keyholder/root.sealed");
        let passphrase = Secret::new("a lantern over the back door".to_owned());
        let home = Home { root: Root::Passphrase { file, passphrase }, ..world.home() };
        vault::recover(&home, &code, &SystemEntropy).unwrap();
        let entropy = Arc::clone(&world.recorder) as Arc<dyn Entropy>;
        let keyholder = Keyholder::open(&home, entropy).await.unwrap();
        world.serve(keyholder, world.door(Opens { per_s: 1, burst: 1_000 })).await;
        let vault = world.open().await;
        let files = vault.key_snapshot().await.unwrap().files;
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        for wanted in
            ["keyholder/vault.name", "keyholder/epoch-00000001.key", "root.sealed", "root.recovery"]
        {
            assert!(names.contains(&wanted), "{wanted} in {names:?}");
        }
        for key in world.recorder.keys() {
            let is_in = |bytes: &[u8]| bytes.windows(32).any(|part| part == key);
            assert!(!files.iter().any(|(_, bytes)| is_in(bytes)), "a key in the clear");
        }
        world.clock.pass(60);
        let minute = loop {
            if let Some(minute) = vault.minutes(0).await.unwrap().pop() {
                break minute;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(minute.kinds["copied"], 1);
        vault.close().await;
    });
}
