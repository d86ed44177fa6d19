//! The house as the package makes it: `init --separate` by root, each process its own user, the
//! keyholder's folder closed to core. What people do with it then, by the guide: serve, look, back up,
//! try the backup, and restore after the fire.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{
    CORE_USER, EDGE_USER, INIT, KEYHOLDER_USER, PASSWORD, Serving, Shop, answer, answer_of,
    gives_files, refused, refused_of, stagedoor, words,
};

/// A house in a mount namespace whose /etc/passwd has the package's users.
struct Packaged {
    shop: Shop,
}

impl Packaged {
    /// None where nobody may make users.
    fn init() -> Option<Self> {
        if !gives_files("the packaged house") {
            return None;
        }
        let dir = TempDir::new().unwrap();
        let house = Self { shop: Shop { dir } };
        house.open_to(".", 0, 0o755);
        let known = std::fs::read_to_string("/etc/passwd").unwrap();
        let users = [("edge", EDGE_USER), ("core", CORE_USER), ("keys", KEYHOLDER_USER)];
        let ours = users.map(|(name, id)| {
            format!("stagedoor-{name}:x:{id}:{id}::/nonexistent:/usr/sbin/nologin\n")
        });
        std::fs::write(house.path("passwd"), known + &ours.concat()).unwrap();
        house.secret("passphrase", "a lantern over the back door", 0);
        house.secret("backup-passphrase", "a lamp behind the curtain", CORE_USER);
        let own = ["--separate", "--dir", "var", "--passphrase-file", "passphrase"];
        house.answer(&[&INIT[..], &own].concat());
        house.shop.on_free_ports();
        let backup = "[backup]\npassphrase_file = \"backup-passphrase\"\n";
        house.shop.edit("[backup]\n", backup);
        house.secret("pw", PASSWORD, CORE_USER);
        for folder in ["data-backup", "keys-backup"] {
            std::fs::create_dir(house.path(folder)).unwrap();
            house.open_to(folder, CORE_USER, 0o700);
        }
        Some(house)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.shop.path().join(name)
    }

    fn open_to(&self, name: &str, user: u32, mode: u32) {
        let path = self.path(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(user), Some(user)).unwrap();
    }

    fn secret(&self, name: &str, text: &str, user: u32) {
        std::fs::write(self.path(name), format!("{text}\n")).unwrap();
        self.open_to(name, user, 0o600);
    }

    fn command(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.args(["mount --bind passwd /etc/passwd && exec \"$@\"", "sh"]);
        command.arg(stagedoor(self.shop.path()).get_program());
        command.current_dir(self.shop.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    fn answer(&self, args: &[&str]) -> Value {
        answer_of(self.command(), args)
    }

    fn refused(&self, args: &[&str], why: &str) {
        refused_of(self.command(), args, why);
    }

    fn serve(&self) -> Serving {
        self.shop.serve_by(self.command())
    }

    /// How many events there are.
    fn told(&self) -> u64 {
        let verified = self.answer(&["audit", "verify"]);
        assert_eq!(verified["holds"], true, "{verified}");
        verified["leaves"].as_u64().unwrap() + verified["pending"].as_u64().unwrap()
    }

    fn customer(&self, email: &str) {
        self.answer(&["user", "add", email, "--password-file", "pw"]);
    }
}

/// Every file below, and whose it is.
fn owners(folder: &Path) -> Vec<(String, u32)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let facts = std::fs::symlink_metadata(&path).unwrap();
        if facts.is_dir() {
            all.extend(owners(&path));
        }
        all.push((path.display().to_string(), facts.uid()));
    }
    all
}

fn all_are_of(folder: &Path, user: u32) {
    let all = owners(folder);
    assert!(!all.is_empty());
    let others: Vec<_> = all.iter().filter(|(_, owner)| *owner != user).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn it_serves_is_backed_up_tried_burns_and_is_restored() {
    let Some(house) = Packaged::init() else { return };
    let shop = &house.shop;
    all_are_of(&house.path("var"), CORE_USER);
    all_are_of(&house.path("keyholder"), KEYHOLDER_USER);
    let serving = house.serve();
    for (kind, user) in [("edge", EDGE_USER), ("core", CORE_USER), ("keyholder", KEYHOLDER_USER)] {
        let id = serving.process(kind).unwrap_or_else(|| panic!("no {kind} runs"));
        assert_eq!(std::fs::metadata(format!("/proc/{id}")).unwrap().uid(), user, "{kind}");
    }
    house.customer("ada@x.example");
    house.customer("eve@x.example");
    serving.sign_in(shop, "ada@x.example");
    // a backup of both, while it serves
    let data = house.path("data-backup/night.backup").display().to_string();
    let keys = house.path("keys-backup/night.backup").display().to_string();
    let taken = house.answer(&["backup", &data, "--keys", &keys]);
    assert!(taken["keys_bytes"].as_u64() > Some(1_000), "{taken}");
    house.answer(&["user", "erase", "eve@x.example", "--yes"]);
    // the drill, beside the house that serves
    let drill = house.answer(&["restore", "drill", &data, "--keys", &keys, "--none-erased"]);
    assert_eq!((&drill["holds"], &drill["report"]["opened"]), (&true.into(), &3.into()), "{drill}");
    let left = std::fs::read_dir(shop.path()).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("drill")), "{left:?}");
    house.refused(&["restore", &data, "--keys", &keys, "--none-erased"], "stop it first");
    assert_eq!(serving.stop(), Some(0));
    let list = house.path("erased");
    std::fs::copy(house.path("var/keys/erased"), &list).unwrap();
    house.open_to("erased", CORE_USER, 0o600);
    // the fire
    for folder in ["var/keys", "var/node", "keyholder", "run"] {
        std::fs::remove_dir_all(house.path(folder)).unwrap();
    }
    for file in ["data.db", "data.db-wal", "data.db-shm"] {
        let _ = std::fs::remove_file(house.path("var").join(file));
    }
    // What is refused leaves the keyholder empty: the right backup is still to come.
    let other = Packaged::init().unwrap();
    let others = other.path("keys-backup/night.backup").display().to_string();
    let its_data = other.path("data-backup/night.backup").display().to_string();
    other.answer(&["backup", &its_data, "--keys", &others]);
    house.refused(&["restore", &data, "--keys", &others, "--none-erased"], "of two installations");
    house.refused(&["restore", &data, "--keys", &keys], "--none-erased");
    assert!(!house.path("keyholder").exists());
    let list = list.display().to_string();
    let restore = ["restore", &data, "--keys", &keys, "--erased", &list];
    // by another passphrase of the root key nothing is left behind
    house.secret("passphrase", "another lantern by mistake", KEYHOLDER_USER);
    house.refused(&restore, "root.passphrase_file");
    assert!(owners(&house.path("keyholder")).iter().all(|(path, _)| path.ends_with("/keyholder")));
    house.secret("passphrase", "a lantern over the back door", KEYHOLDER_USER);
    let dry = house.answer(&[&restore[..], &["--dry-run"]].concat());
    assert_eq!(dry["rows"], taken["rows"]);
    let restored = house.answer(&restore);
    assert_eq!(restored["erased_again"], 1, "{restored}");
    all_are_of(&house.path("keyholder"), KEYHOLDER_USER);
    let serving = house.serve();
    serving.sign_in(shop, "ada@x.example");
    assert_eq!(house.run(&["user", "show", "eve@x.example"]).status.code(), Some(1));
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn it_moves_to_postgresql_and_back_with_its_keys() {
    testkit::with_postgres(|url| {
        let Some(house) = Packaged::init() else { return };
        let shop = &house.shop;
        // Without a house that serves, a keyholder answers for as long as a command takes.
        house.customer("ada@x.example");
        let serving = house.serve();
        house.refused(&["db", "move", "--to", url], "stop it first");
        assert_eq!(serving.stop(), Some(0));
        let moved = house.answer(&["db", "move", "--to", url]);
        assert!(moved["rows"].as_u64() > Some(5), "{moved}");
        house.refused(&["audit", "verify"], "db stay");
        shop.edit("[data]\n", &format!("[data]\ndatabase_url = \"{url}\"\n"));
        let serving = house.serve();
        serving.sign_in(shop, "ada@x.example");
        let verified = house.answer(&["audit", "verify"]);
        assert_eq!(verified["holds"], true, "{verified}");
        assert_eq!(serving.stop(), Some(0));
        let file = format!("sqlite://{}", house.path("var/again.db").display());
        house.answer(&["db", "move", "--to", &file]);
        shop.edit(&format!("database_url = \"{url}\""), &format!("database_url = \"{file}\""));
        let serving = house.serve();
        serving.sign_in(shop, "ada@x.example");
        assert_eq!(serving.stop(), Some(0));
        all_are_of(&house.path("var"), CORE_USER);
    });
}

#[test]
fn a_lost_passphrase_is_mended_by_the_recovery_code() {
    let Some(house) = Packaged::init() else { return };
    house.customer("ada@x.example");
    let told = house.told();
    let code = house.answer(&["key", "recovery", "new"])["code"].as_str().unwrap().to_owned();
    assert_eq!(house.told(), told + 1);
    house.secret("code", &code, 0);
    house.secret("passphrase", "a new lantern, well remembered", KEYHOLDER_USER);
    house.refused(&["user", "list"], "the keyholder does not open");
    house.answer(&["key", "recovery", "use", "--code-file", "code"]);
    assert_eq!(house.told(), told + 2);
    all_are_of(&house.path("keyholder"), KEYHOLDER_USER);
    let serving = house.serve();
    serving.sign_in(&house.shop, "ada@x.example");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn two_commands_of_roots_take_turns() {
    let Some(house) = Packaged::init() else { return };
    let together: Vec<Child> = (0..4)
        .map(|number| {
            let mut command = house.command();
            let email = format!("c{number}@x.example");
            command.args(["--json", "user", "add", &email, "--password-file", "pw"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in together {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
    }
    let people = house.answer(&["user", "list"]);
    assert_eq!(people["accounts"].as_array().map(Vec::len), Some(5), "{people}");
}

#[tokio::test]
async fn what_a_command_ends_with_is_passed_on() {
    let Some(house) = Packaged::init() else { return };
    assert_eq!(house.run(&["audit", "verify"]).status.code(), Some(0));
    let url = format!("sqlite://{}", house.path("var/data.db").display());
    let db = store::Db::open(&store::Options::new(url)).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.run("UPDATE spine_leaf SET at = at + 1 WHERE idx = 1", Vec::new()).await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    let found = house.run(&["audit", "verify"]);
    assert_eq!(found.status.code(), Some(2), "{}", words(&found));
}

/// The first drill's place of its kind in a folder, while the drill runs.
fn place_of(drill: &mut Child, parent: &Path) -> PathBuf {
    loop {
        let entries = std::fs::read_dir(parent).unwrap().flatten();
        let mut names = entries.filter(|it| it.file_name().to_string_lossy().contains("drill"));
        if let Some(place) = names.next() {
            return place.path();
        }
        assert!(drill.try_wait().unwrap().is_none(), "it was too fast to be seen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_drill_of_roots_is_held_by_core() {
    if !gives_files("a drill of root's") {
        return;
    }
    let shop = Shop::in_one_process(&[]);
    std::fs::write(shop.path().join("var/lamp"), "a lamp behind the curtain").unwrap();
    shop.separate();
    let backup = ["--passphrase-file", "var/lamp"];
    let take = ["backup", "var/data.backup", "--keys", "var/keys/keys.backup"];
    answer(shop.path(), &[&take[..], &backup].concat());
    let drill = ["restore", "drill", "var/data.backup", "--keys", "var/keys/keys.backup"];
    let mut command = stagedoor(shop.path());
    let mut child = command.args(drill).args(["--none-erased"]).args(backup).spawn().unwrap();
    let place = place_of(&mut child, &shop.path().join("var"));
    assert_eq!(std::fs::metadata(place).unwrap().uid(), CORE_USER);
    assert!(child.wait().unwrap().success());
    all_are_of(&shop.path().join("var"), CORE_USER);
}

#[test]
fn a_bare_root_key_does_not_leave_its_folder() {
    if !gives_files("a keyholder of its own") {
        return;
    }
    let shop = Shop::in_one_process(&[]);
    shop.with_keyholder();
    shop.edit("[backup]\n", "[backup]\npassphrase_file = \"backup-passphrase\"\n");
    std::fs::write(shop.path().join("backup-passphrase"), "a lamp behind the curtain").unwrap();
    chown(shop.path().join("backup-passphrase"), Some(CORE_USER), None).unwrap();
    let serving = shop.serve();
    let args = ["backup", "var/data.backup", "--keys", "var/keys/keys.backup"];
    refused(shop.path(), &args, "root.kind");
    assert!(!shop.path().join("var/keys/keys.backup").exists());
    assert_eq!(serving.stop(), Some(0));
}
