//! Keyholder and core as two processes, as two users where the tests run as root: core has no way to
//! the root key, not even in its memory, and goes on where the keyholder is killed.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::drill::{memory, places};
use crate::program::{INIT, PASSWORD, Serving, Shop, answer_of, stagedoor, words};

const KEYHOLDER: u32 = 61_001;
const CORE: u32 = 61_002;
/// Core's group, which may come near the socket.
const GROUP: u32 = CORE;

fn is_root(dir: &Path) -> bool {
    std::fs::metadata(dir).unwrap().uid() == 0
}

/// A folder with two homes: the keyholder's, and core's around it.
struct Two {
    shop: Shop,
    apart: bool,
}

impl Two {
    fn new(root: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let apart = is_root(dir.path());
        if !apart {
            eprintln!("LEFT OUT: not root, so both run as one user");
        }
        let two = Self { shop: Shop { dir }, apart };
        let core = if apart { CORE } else { std::fs::metadata(two.path()).unwrap().uid() };
        let settings = format!(
            "{root}\n[keyholder]\nsocket = \"run/socket\"\ndir = \"kh\"\ncore_user = \"{core}\"\n"
        );
        std::fs::write(two.path().join("keyholder.toml"), settings).unwrap();
        two.own(".", CORE, 0o755);
        two.own("kh", KEYHOLDER, 0o700);
        two.own("run", KEYHOLDER, 0o750);
        two
    }

    fn path(&self) -> &Path {
        self.shop.path()
    }

    fn own(&self, name: &str, uid: u32, mode: u32) {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        if self.apart {
            chown(&path, Some(uid), Some(GROUP)).unwrap();
        }
    }

    fn by(&self, uid: u32, mut command: Command) -> Command {
        command.current_dir(self.path());
        if self.apart {
            command.uid(uid).gid(GROUP);
        }
        command
    }

    fn keyholder(&self) -> Command {
        let mut command = self.by(KEYHOLDER, stagedoor(self.path()));
        command.args(["--config", "keyholder.toml", "--json", "keyholder"]);
        command
    }

    fn serve_keyholder(&self) -> Keyholder {
        let mut command = self.keyholder();
        let mut child = command.arg("serve").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("run/socket"), "{line}");
        Keyholder(child)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = self.by(CORE, stagedoor(self.path()));
        command.arg("--json").args(args).output().unwrap()
    }

    fn answer(&self, args: &[&str]) -> Value {
        answer_of(self.by(CORE, stagedoor(self.path())), args)
    }

    fn init(&self) {
        self.answer(&[&INIT[..], &["--keyholder", "run/socket"]].concat());
        self.shop.on_free_ports();
    }

    fn serve(&self) -> Serving {
        self.shop.serve_by(self.by(CORE, stagedoor(self.path())))
    }

    /// Edge and core as processes of their own too, which `serve` makes of itself as root.
    fn serve_apart(&self) -> Serving {
        let users = format!("separate = true\nedge_user = \"61003\"\ncore_user = \"{CORE}\"");
        let config = std::fs::read_to_string(self.shop.config()).unwrap();
        std::fs::write(self.shop.config(), format!("{config}\n[processes]\n{users}\n")).unwrap();
        self.shop.serve()
    }

    fn customer(&self, email: &str) {
        std::fs::write(self.path().join("pw"), PASSWORD).unwrap();
        self.answer(&["user", "add", email, "--password-file", "pw"]);
    }

    /// Whether core's user can read a file.
    fn can_read(&self, file: &str) -> bool {
        let read = self.by(CORE, Command::new("cat")).arg(file).output().unwrap();
        read.status.success()
    }
}

struct Keyholder(Child);

impl Keyholder {
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Keyholder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Opens a wrapped key, by what is written of the format and nothing of the vault's own code.
fn unwrap(above: &[u8], context: &[&[u8]], wrapped: &[u8]) -> Vec<u8> {
    let frame = |parts: &[&[u8]]| {
        let mut bytes = vec![u8::try_from(parts.len()).unwrap()];
        for part in parts {
            bytes.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
            bytes.extend(*part);
        }
        bytes
    };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, above).unwrap());
    let nonce = Nonce::try_assume_unique_for_key(&wrapped[2..14]).unwrap();
    let aad = frame(&[&wrapped[..2], &frame(context)]);
    let mut text = wrapped[14..].to_vec();
    key.open_in_place(nonce, Aad::from(aad), &mut text).unwrap().to_vec()
}

/// Root, epoch and tenant key, had by one who has everything.
async fn keys(two: &Two) -> Vec<(&'static str, Vec<u8>)> {
    let text = std::fs::read_to_string(two.path().join("kh/root.key")).unwrap();
    let text = text.trim_start_matches("stagedoor-root-key-1:");
    let root = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let name = std::fs::read(two.path().join("kh/keyholder/vault.name")).unwrap();
    let file = std::fs::read(two.path().join("kh/keyholder/epoch-00000001.key")).unwrap();
    let (first, schema) = (1i64.to_be_bytes(), 1u16.to_be_bytes());
    let epoch = unwrap(&root, &[b"stagedoor epoch key", &name, &first, &schema], &file);
    let url = format!("sqlite://{}", two.path().join("var/keys/keys.db").display());
    let db = store::Db::open(&store::Options::new(url)).await.unwrap();
    let find = "SELECT tenant, wrapped FROM key_epoch WHERE epoch = 1";
    let row = db.read().await.unwrap().rows(find, Vec::new()).await.unwrap().remove(0);
    db.close().await;
    let (tenant, wrapped) = (row.bytes("tenant").unwrap(), row.bytes("wrapped").unwrap());
    let context: [&[u8]; 4] = [b"stagedoor tenant key", &tenant, &first, &schema];
    let tenant = unwrap(&epoch, &context, &wrapped);
    vec![("root", root), ("epoch", epoch), ("tenant", tenant)]
}

/// Which of these keys stand somewhere in a process's memory, as bytes or as text.
fn found_in(process: u32, keys: &[(&'static str, Vec<u8>)]) -> Vec<&'static str> {
    let memory = memory(process);
    let text = |key: &[u8]| base64::engine::general_purpose::STANDARD.encode(key).into_bytes();
    let is_there =
        |key: &[u8]| !places(&memory, key).is_empty() || !places(&memory, &text(key)).is_empty();
    assert!(memory.iter().map(Vec::len).sum::<usize>() > 1_000_000);
    keys.iter().filter(|(_, key)| is_there(key)).map(|(name, _)| *name).collect()
}

/// A process and its children.
fn family(process: u32) -> Vec<u32> {
    let children = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(children).unwrap();
    let children = children.split_whitespace().map(|id| id.parse().unwrap());
    std::iter::once(process).chain(children).collect()
}

const IN_THE_CLEAR: &str = "[root]\nkind = \"key_file\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn core_has_neither_root_nor_epoch_nor_tenant_key() {
    let two = Two::new(IN_THE_CLEAR);
    let made = two.keyholder().arg("init").output().unwrap();
    assert!(made.status.success(), "{}", words(&made));
    let keyholder = two.serve_keyholder();
    two.init();
    two.customer("ada@x.example");
    let serving = if two.apart { two.serve_apart() } else { two.serve() };
    serving.sign_in(&two.shop, "ada@x.example");
    // Files: nothing of the keyholder's, though its own are there.
    assert!(two.can_read("var/keys/keys.db"));
    if two.apart {
        for file in ["kh/root.key", "kh/keyholder/epoch-00000001.key", "kh/opens.log"] {
            assert!(!two.can_read(file), "core's user reads {file}");
        }
    }
    // Memory: the search finds them where they are.
    let keys = keys(&two).await;
    let there = found_in(keyholder.0.id(), &keys);
    assert!(there.contains(&"root") && there.contains(&"tenant"), "{there:?}");
    let family = family(serving.id());
    assert_eq!(family.len(), if two.apart { 3 } else { 1 });
    for process in family {
        assert_eq!(found_in(process, &keys), Vec::<&str>::new());
    }
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn the_keyholder_is_killed_and_core_goes_on() {
    let two = Two::new(IN_THE_CLEAR);
    assert!(two.keyholder().arg("init").output().unwrap().status.success());
    let keyholder = two.serve_keyholder();
    two.init();
    two.customer("ada@x.example");
    let serving = two.serve();
    let tokens = serving.sign_in(&two.shop, "ada@x.example");
    let bearer = format!("authorization: Bearer {}", tokens["access_token"].as_str().unwrap());
    let account = || serving.curl(&two.shop, &["-H", &bearer], "/v1/account").0;
    assert_eq!(account(), 200);
    keyholder.kill();
    // Her key is in memory; nobody new can come.
    assert_eq!(account(), 200);
    let new = json!({ "email": "bob@x.example", "name": "Bob" });
    let (status, answer) = serving.post(&two.shop, &[], ("/v1/sign-up", &new));
    assert_eq!(status, 503, "{answer}");
    assert!(!answer.to_string().contains("run/socket"), "{answer}");
    // It comes back: so do they.
    let keyholder = two.serve_keyholder();
    let (status, answer) = serving.post(&two.shop, &[], ("/v1/sign-up", &new));
    assert!((200..300).contains(&status), "{answer}");
    // Commands ask the same keyholder, beside the program.
    assert_eq!(two.answer(&["key", "rotate", "session"])["version"], 2);
    assert_eq!(two.answer(&["key", "rotate", "epoch"])["epoch"], 2);
    assert_eq!(account(), 200);
    two.answer(&["user", "erase", "ada@x.example", "--yes"]);
    let doctor = two.run(&["doctor"]);
    assert!(
        words(&doctor).contains("\"what\":\"keyholder\",\"state\":\"✓\"") || {
            let found: Value = serde_json::from_slice(&doctor.stdout).unwrap();
            let found = found["findings"].as_array().unwrap();
            found.iter().any(|one| one["what"] == "keyholder" && one["state"] == "✓")
        }
    );
    assert_eq!(serving.stop(), Some(0));
    let verified = two.answer(&["audit", "verify"]);
    assert_eq!(verified["holds"], true, "{verified}");
    drop(keyholder);
    // Core waits for a keyholder no longer than it is told to, and says for whom.
    two.shop.edit("socket = \"run/socket\"", "socket = \"run/socket\"\nwait_ms = 500");
    let alone = two.run(&["key", "list"]);
    assert!(!alone.status.success());
    assert!(words(&alone).contains("stagedoor keyholder serve"), "{}", words(&alone));
}

#[test]
fn a_stranger_is_not_answered_root_included() {
    let two = Two::new(IN_THE_CLEAR);
    if !two.apart {
        return;
    }
    assert!(two.keyholder().arg("init").output().unwrap().status.success());
    let _keyholder = two.serve_keyholder();
    two.init();
    let refused = stagedoor(two.path()).args(["key", "list"]).output().unwrap();
    assert!(!refused.status.success());
    assert!(words(&refused).contains("this user is not served"), "{}", words(&refused));
}

#[test]
fn the_passphrase_is_a_credential_of_the_keyholder_alone() {
    let root = "[root]\nkind = \"passphrase\"\npassphrase_credential = \"root\"\n";
    let two = Two::new(root);
    let init = |folder: &Path| {
        let mut command = two.keyholder();
        command.env("CREDENTIALS_DIRECTORY", folder).arg("init").output().unwrap()
    };
    let without = two.keyholder().arg("init").output().unwrap();
    assert!(words(&without).contains("CREDENTIALS_DIRECTORY"), "{}", words(&without));
    two.own("credentials", KEYHOLDER, 0o700);
    let folder = two.path().join("credentials");
    std::fs::write(folder.join("root"), "a long enough passphrase\n").unwrap();
    let made = init(&folder);
    assert!(made.status.success(), "{}", words(&made));
    assert!(two.path().join("kh/root.sealed").exists());
    std::fs::write(folder.join("root"), "another long passphrase\n").unwrap();
    assert!(words(&init(&folder)).contains("wrong passphrase"));
}
