//! Moving house, backups, restoring, with the real binary, in both directions and with kill -9 in
//! the middle: what was there is there, whoever was erased stays erased, nothing is half done.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::full_disk::Disk;
use crate::program::{Shop, answer, refused, run, stagedoor, words};

/// What only erased persons have: no file of a restored place may hold it.
const CANARY: &str = "canary-4711";

/// A folder beside the shop, and the passphrase of its backups.
struct Depot {
    dir: tempfile::TempDir,
}

impl Depot {
    fn new(shop: &Shop) -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        for folder in ["data", "keys"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let file = dir.path().join("passphrase");
        std::fs::write(&file, "a lamp behind the curtain\n").unwrap();
        let line = format!("[backup]\npassphrase_file = {:?}\n", file.display().to_string());
        shop.edit("[backup]\n", &line);
        Self { dir }
    }

    fn data(&self) -> String {
        self.dir.path().join("data/night.backup").display().to_string()
    }

    fn keys(&self) -> String {
        self.dir.path().join("keys/night.backup").display().to_string()
    }

    fn take(&self, shop: &Shop) -> Value {
        answer(shop.path(), &["backup", &self.data(), "--keys", &self.keys()])
    }
}

/// The same configuration in an empty folder: the day after the fire.
fn empty_place(shop: &Shop) -> Shop {
    let place = Shop { dir: tempfile::TempDir::new().unwrap() };
    std::fs::copy(shop.config(), place.config()).unwrap();
    std::fs::create_dir(place.path().join("var")).unwrap();
    let key = "var/header-shop.key";
    std::fs::copy(shop.path().join(key), place.path().join(key)).unwrap();
    place
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

/// No file of the place holds these bytes, in whatever place of a page or a write-ahead log.
fn assert_nowhere(folder: &Path, bytes: &[u8]) {
    assert!(!is_somewhere(folder, bytes), "{} is somewhere", String::from_utf8_lossy(bytes));
}

fn is_somewhere(folder: &Path, bytes: &[u8]) -> bool {
    let files = files_below(folder);
    assert!(files.len() >= 4, "{files:?}");
    let holds = |file: &PathBuf| {
        let held = std::fs::read(file).unwrap();
        held.windows(bytes.len()).any(|part| part == bytes)
    };
    files.iter().any(holds)
}

/// A shop in which people live, signed in, sold to, and were erased.
fn lived_in(shop: &Shop) {
    shop.lift_limits();
    for name in ["ada", "bob", "eve"] {
        shop.customer(&format!("{name}@x.example"));
    }
    shop.customer(&format!("{CANARY}@x.example"));
    let (serving, service) = (shop.serve(), shop.service());
    serving.sign_in(shop, "ada@x.example");
    for number in 0..20 {
        assert_eq!(serving.tell(shop, &service, &format!("f{number}")).0, 200);
    }
    assert_eq!(serving.stop(), Some(0));
    answer(shop.path(), &["user", "erase", "eve@x.example", "--yes"]);
}

fn events(shop: &Shop) -> (Value, Value) {
    let verified = answer(shop.path(), &["audit", "verify"]);
    assert_eq!(verified["holds"], true, "{verified}");
    (verified["leaves"].clone(), verified["rows"].clone())
}

fn on_postgres(test: impl FnOnce(&str)) {
    testkit::with_postgres(test);
}

#[test]
fn a_house_moves_to_postgresql_and_back() {
    on_postgres(|url| {
        let shop = Shop::init();
        lived_in(&shop);
        let before = events(&shop);
        let dry = answer(shop.path(), &["db", "move", "--to", url, "--dry-run"]);
        assert!(dry["rows"].as_u64().unwrap() > 50, "{dry}");
        let serving = shop.serve();
        refused(shop.path(), &["db", "move", "--to", url], "stop it first");
        assert_eq!(serving.stop(), Some(0));
        let moved = answer(shop.path(), &["db", "move", "--to", url]);
        assert!(moved["rows"].as_u64() > Some(50), "{moved}");
        // the old one cannot be served by mistake, by no command
        refused(shop.path(), &["serve"], "was moved to postgres");
        refused(shop.path(), &["audit", "verify"], "db stay");
        shop.edit("[data]\n", &format!("[data]\ndatabase_url = \"{url}\"\n"));
        assert_eq!(events(&shop), before);
        assert_eq!(answer(shop.path(), &["audit", "verify"])["pending"], 1, "the move is told of");
        // told again at the new place, a fact is known: nothing is doubled
        let (serving, service) = (shop.serve(), shop.service());
        let (status, said) = serving.tell(&shop, &service, "f1");
        assert_eq!(status, 200, "{said}");
        serving.sign_in(&shop, "ada@x.example");
        assert_eq!(serving.stop(), Some(0));
        let there = events(&shop);
        // and back, into another file
        let file = format!("sqlite://{}", shop.path().join("var/again.db").display());
        answer(shop.path(), &["db", "move", "--to", &file]);
        shop.edit(&format!("database_url = \"{url}\""), &format!("database_url = \"{file}\""));
        let back = events(&shop);
        assert_eq!(back, there);
        let serving = shop.serve();
        serving.sign_in(&shop, "bob@x.example");
        assert_eq!(serving.stop(), Some(0));
    });
}

#[test]
fn the_keys_move_too_and_a_move_is_taken_back() {
    on_postgres(|url| {
        let shop = Shop::init();
        lived_in(&shop);
        let other = shop.path().join("var/other.db").display().to_string();
        let to = ["db", "move", "--to", &format!("sqlite://{other}"), "--keys-to", url];
        answer(shop.path(), &to);
        refused(shop.path(), &["user", "list"], "was moved");
        assert_eq!(answer(shop.path(), &["db", "stay"])["released"].as_array().unwrap().len(), 2);
        events(&shop);
        // both targets are full now
        refused(shop.path(), &to, "not empty");
        events(&shop);
        let lines =
            format!("[data]\ndatabase_url = \"sqlite://{other}\"\nkeys_database_url = \"{url}\"\n");
        shop.edit("[data]\n", &lines);
        let shown = answer(shop.path(), &["user", "show", "ada@x.example"]);
        assert!(shown.to_string().contains("ada@x.example"), "{shown}");
        events(&shop);
    });
}

#[test]
fn a_backup_is_taken_while_it_serves_and_restored_elsewhere() {
    let shop = Shop::init();
    lived_in(&shop);
    let depot = Depot::new(&shop);
    let serving = shop.serve();
    let tokens = serving.sign_in(&shop, "bob@x.example");
    let dry = answer(shop.path(), &["backup", &depot.data(), "--dry-run"]);
    assert!(dry["rows"].as_u64().unwrap() > 50, "{dry}");
    let taken = depot.take(&shop);
    assert!(taken["rows"].as_u64().unwrap() > 50, "{taken}");
    let whole = answer(shop.path(), &["backup", "verify", &depot.data()]);
    assert_eq!(whole["rows"], taken["rows"]);
    answer(shop.path(), &["backup", "verify", "--keys", &depot.keys()]);
    for file in [depot.data(), depot.keys()] {
        let held = std::fs::read(&file).unwrap();
        assert!(held.starts_with(b"stagedoor-sealed-1"));
        assert!(!held.windows(8).any(|part| part == b"identity"), "{file} is in the clear");
    }
    // what came after the backup: somebody is erased
    answer(shop.path(), &["user", "erase", &format!("{CANARY}@x.example"), "--yes"]);
    let list = shop.path().join("var/keys/erased");
    let began = Instant::now();
    while !std::fs::read_to_string(&list).is_ok_and(|text| text.lines().count() >= 2) {
        assert!(began.elapsed() < Duration::from_secs(20), "the list does not name them");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(serving.stop(), Some(0));
    // the day after the fire
    let place = empty_place(&shop);
    let (data, keys) = (depot.data(), depot.keys());
    let restore = ["restore", &data, "--keys", &keys];
    refused(place.path(), &restore, "--erased");
    let list = list.display().to_string();
    let restore = [&restore[..], &["--erased", &list]].concat();
    let dry = answer(place.path(), &[&restore[..], &["--dry-run"]].concat());
    assert_eq!(dry["rows"], taken["rows"]);
    assert!(!place.path().join("var/data.db").exists(), "a dry run makes nothing");
    let restored = answer(place.path(), &restore);
    assert_eq!(restored["erased_again"], 1, "{restored}");
    assert!(restored["sessions_ended"].as_u64().unwrap() >= 2, "{restored}");
    assert_eq!(restored["origin"], "localhost/log/2");
    refused(place.path(), &["user", "show", &format!("{CANARY}@x.example")], "no account");
    events(&place);
    refused(place.path(), &restore, "not empty");
    let serving = place.serve();
    serving.sign_in(&place, "ada@x.example");
    let bearer = tokens["refresh_token"].as_str().unwrap();
    let (status, _) =
        serving.post(&place, &[], ("/v1/refresh", &json!({ "refresh_token": bearer })));
    assert!(status == 401 || status == 404 || status == 400, "an old session lives on: {status}");
    assert_eq!(serving.stop(), Some(0));
    events(&place);
    assert_nowhere(place.path(), CANARY.as_bytes());
    assert!(is_somewhere(place.path(), b"identity_account"), "the look finds nothing at all");
    // and by the restored keys nothing of them opens
    let drill = ["restore", "drill", &data, "--keys", &keys, "--erased", &list];
    let report = &answer(shop.path(), &drill)["report"];
    assert_eq!(
        (&report["erased_again"], &report["unreadable"]),
        (&json!(1), &json!(2)),
        "{report}"
    );
}

#[test]
fn with_the_keys_that_stand_nobody_erased_comes_back() {
    let shop = Shop::init();
    lived_in(&shop);
    let depot = Depot::new(&shop);
    depot.take(&shop);
    answer(shop.path(), &["user", "erase", &format!("{CANARY}@x.example"), "--yes"]);
    // the disk of the data dies, the keys' one lives
    for name in ["data.db", "data.db-wal", "data.db-shm"] {
        let _ = std::fs::remove_file(shop.path().join("var").join(name));
    }
    refused(shop.path(), &["serve"], "migrate");
    std::fs::remove_file(shop.path().join("var/data.db")).unwrap();
    let restored = answer(shop.path(), &["restore", &depot.data()]);
    assert_eq!(restored["erased_again"], 1, "{restored}");
    events(&shop);
    refused(shop.path(), &["user", "show", &format!("{CANARY}@x.example")], "no account");
    assert_nowhere(shop.path(), CANARY.as_bytes());
    let serving = shop.serve();
    serving.sign_in(&shop, "ada@x.example");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_backup_of_postgresql_is_restored_into_sqlite_and_the_other_way() {
    on_postgres(|url| {
        let shop = Shop::init_with(&["--database", url]);
        lived_in(&shop);
        let before = events(&shop);
        let depot = Depot::new(&shop);
        depot.take(&shop);
        let place = empty_place(&shop);
        place.edit(&format!("database_url = \"{url}\""), "");
        let (data, keys) = (depot.data(), depot.keys());
        let restore = ["restore", &data, "--keys", &keys, "--none-erased"];
        answer(place.path(), &restore);
        let after = events(&place);
        assert!(after.0.as_u64() > before.0.as_u64());
        on_postgres(|other| {
            let depot = Depot { dir: tempfile::TempDir::new().unwrap() };
            for folder in ["data", "keys"] {
                std::fs::create_dir(depot.dir.path().join(folder)).unwrap();
            }
            depot.take(&place);
            let third = empty_place(&place);
            third.edit("[data]\n", &format!("[data]\ndatabase_url = \"{other}\"\n"));
            let (data, keys) = (depot.data(), depot.keys());
            let restored =
                answer(third.path(), &["restore", &data, "--keys", &keys, "--none-erased"]);
            assert_eq!(restored["origin"], "localhost/log/3");
            events(&third);
        });
    });
}

#[test]
fn what_is_wrong_is_refused_and_changes_nothing() {
    let shop = Shop::init();
    lived_in(&shop);
    let depot = Depot::new(&shop);
    depot.take(&shop);
    let place = empty_place(&shop);
    let (data, keys) = (depot.data(), depot.keys());
    let altered = depot.dir.path().join("altered").display().to_string();
    let held = std::fs::read(&data).unwrap();
    let restore = |data: &str| {
        let args = ["restore", data, "--keys", keys.as_str(), "--none-erased"];
        args.map(str::to_owned)
    };
    let refuse = |bytes: &[u8], why: &str| {
        std::fs::write(&altered, bytes).unwrap();
        let args = restore(&altered);
        refused(place.path(), &args.each_ref().map(String::as_str), why);
        refused(place.path(), &["backup", "verify", &altered], why);
    };
    refuse(&held[..held.len() / 2], "its end is missing");
    refuse(&held[..10], "altered");
    for at in [3, 30, 60, 200, held.len() / 2, held.len() - 1] {
        let mut flipped = held.clone();
        flipped[at] ^= 4;
        refuse(&flipped, "");
    }
    let wrong = depot.dir.path().join("wrong").display().to_string();
    std::fs::write(&wrong, "another lamp altogether").unwrap();
    let args = ["backup", "verify", &data, "--passphrase-file", &wrong];
    refused(place.path(), &args, "the passphrase does not open");
    refused(place.path(), &["restore", &keys, "--none-erased"], "not of data");
    refused(place.path(), &["restore", &data], "cannot be opened");
    refused(shop.path(), &["restore", &data], "not empty");
    let one = ["backup", &data, "--keys", &depot.dir.path().join("data/k").display().to_string()];
    refused(shop.path(), &one, "one folder");
    let left: Vec<PathBuf> = files_below(&place.path().join("var"));
    let left: Vec<&PathBuf> =
        left.iter().filter(|path| std::fs::metadata(path).unwrap().len() > 0).collect();
    let known = ["header-shop.key", "data.db", "data.db-wal", "data.db-shm"];
    let is_known = |path: &&PathBuf| known.iter().any(|name| path.ends_with(name));
    assert!(left.iter().copied().all(|path| is_known(&path)), "{left:?}");
    // and nothing stands in the way of the right one
    let args = restore(&data);
    answer(place.path(), &args.each_ref().map(String::as_str));
    events(&place);
}

/// Starts a command and kills it after a while; false where it was faster.
fn killed(dir: &Path, args: &[&str], after: Duration) -> bool {
    let mut command = stagedoor(dir);
    let mut child = command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    let ended = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    child.wait().unwrap();
    !ended
}

#[test]
fn killed_in_the_middle_a_backup_a_restore_and_a_move_begin_again() {
    let shop = Shop::init();
    lived_in(&shop);
    let depot = Depot::new(&shop);
    let (data, keys) = (depot.data(), depot.keys());
    let backup = ["backup", &data, "--keys", &keys];
    let mut cuts = 0;
    for step in 1..8 {
        cuts += usize::from(killed(shop.path(), &backup, Duration::from_millis(60 * step)));
        if Path::new(&data).exists() {
            answer(shop.path(), &["backup", "verify", &data]);
        }
    }
    depot.take(&shop);
    let (data, keys) = (depot.data(), depot.keys());
    let restore = ["restore", &data, "--keys", &keys, "--none-erased"];
    let place = empty_place(&shop);
    for step in 1..12 {
        if !killed(place.path(), &restore, Duration::from_millis(80 * step)) {
            break;
        }
        cuts += 1;
        if run(place.path(), &["user", "list"]).status.success() {
            // It was killed on its way out: then all of it is done.
            let again = words(&run(place.path(), &restore));
            assert!(again.contains("not empty"), "served half restored: {again}");
            break;
        }
    }
    let again = run(place.path(), &restore);
    let said = words(&again);
    assert!(again.status.success() || said.contains("not empty"), "{said}");
    events(&place);
    let other = format!("sqlite://{}", shop.path().join("var/other.db").display());
    let moving = ["db", "move", "--to", &other];
    for step in 1..12 {
        if !killed(shop.path(), &moving, Duration::from_millis(60 * step)) {
            break;
        }
        cuts += 1;
    }
    let again = run(shop.path(), &moving);
    assert!(again.status.success() || words(&again).contains("was moved"), "{}", words(&again));
    shop.edit("[data]\n", &format!("[data]\ndatabase_url = \"{other}\"\n"));
    events(&shop);
    assert!(cuts >= 8, "only {cuts} were cut short");
}

#[test]
fn a_full_disk_refuses_and_leaves_what_was() {
    let shop = Shop::init();
    lived_in(&shop);
    let depot = Depot::new(&shop);
    let Some(disk) = Disk::under(&depot.dir.path().join("data"), 1024) else { return };
    depot.take(&shop);
    let (data, keys) = (depot.data(), depot.keys());
    let before = std::fs::read(&data).unwrap();
    disk.fill();
    refused(shop.path(), &["backup", &data], "No space left");
    assert_eq!(std::fs::read(&data).unwrap(), before, "the old backup is gone");
    assert!(!Path::new(&format!("{data}.new")).exists());
    disk.clear();
    depot.take(&shop);
    let place = empty_place(&shop);
    let restore = ["restore", &data, "--keys", &keys, "--none-erased"];
    let Some(small) = Disk::under(&place.path().join("var"), 512) else { return };
    refused(place.path(), &restore, "full");
    let served = run(place.path(), &["user", "list"]);
    assert!(!served.status.success(), "{}", words(&served));
    drop(small);
    let other = shop.path().join("small");
    let Some(small) = Disk::under(&other, 512) else { return };
    let to = format!("sqlite://{}", other.join("other.db").display());
    refused(shop.path(), &["db", "move", "--to", &to], "full");
    // the source may go on as if nothing had been
    events(&shop);
    drop(small);
    let place = empty_place(&shop);
    answer(place.path(), &restore);
    events(&place);
}

#[test]
fn a_drill_says_whether_a_backup_would_save_the_house() {
    let shop = Shop::init();
    lived_in(&shop);
    let depot = Depot::new(&shop);
    depot.take(&shop);
    let (data, keys) = (depot.data(), depot.keys());
    let drill = ["restore", "drill", &data, "--keys", &keys, "--none-erased", "--samples", "3"];
    let serving = shop.serve();
    let report = answer(shop.path(), &drill);
    assert_eq!(report["holds"], true);
    assert_eq!(report["report"]["opened"], 3, "{report}");
    assert_eq!(report["report"]["unreadable"], 1, "{report}");
    assert_eq!(serving.stop(), Some(0));
    let left = files_below(&shop.path().join("var"));
    assert!(!left.iter().any(|path| path.display().to_string().contains("drill")), "{left:?}");
    let mut held = std::fs::read(&data).unwrap();
    let middle = held.len() / 2;
    held[middle] ^= 1;
    std::fs::write(&data, held).unwrap();
    refused(shop.path(), &drill, "do not trust this backup");
    events(&shop);
}

/// Everything by which a house speaks to others is set: a drill uses none of it.
#[test]
fn a_drill_reaches_nothing_outside_and_leaves_nothing_where_it_is_stopped() {
    let shop = Shop::init();
    lived_in(&shop);
    let depot = Depot::new(&shop);
    let redis = crate::nodes::Redis::start();
    let sink = depot.dir.path().join("events.jsonl");
    let outside = format!(
        "\n[redis]\nurl = \"redis://{}\"\n\n[observe]\nlisten = \"127.0.0.1:{}\"\n\n[[siem]]\n\
         name = \"file\"\nto = \"file\"\nfile = {:?}\n",
        redis.place(),
        crate::together::free_port(),
        sink.display().to_string()
    );
    let text = std::fs::read_to_string(shop.config()).unwrap();
    let text = text.replace("\n[observe]\n", "\n").replace("\n[redis]\n", "\n");
    std::fs::write(shop.config(), text + &outside).unwrap();
    let serving = shop.serve();
    depot.take(&shop);
    let (data, keys) = (depot.data(), depot.keys());
    let drill = ["restore", "drill", &data, "--keys", &keys, "--none-erased"];
    let told = || std::fs::read_to_string(&sink).unwrap_or_default();
    let told_after = |before: &str, kind: &str| {
        let began = Instant::now();
        while !told()[before.len()..].contains(kind) {
            assert!(began.elapsed() < Duration::from_secs(20), "{} {}", told(), shop.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        told()[before.len()..].to_owned()
    };
    told_after("", "backup");
    let before = told();
    assert_eq!(answer(shop.path(), &drill)["holds"], true);
    // Whatever the drill had told would stand before this.
    answer(shop.path(), &["service", "add", "after-the-drill"]);
    let later = told_after(&before, "access.service_added");
    for of_the_drill in ["keep.restored", "reopened", "ended"] {
        assert!(!later.contains(of_the_drill), "{of_the_drill}: {later}");
    }
    assert!(!shop.log().contains("a node is heard"), "{}", shop.log());
    let left = || {
        let entries = std::fs::read_dir(shop.path().join("var")).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.contains("drill")).collect::<Vec<_>>()
    };
    // Stopped in the midst, it takes its place along; killed, the next one does.
    for signal in ["-INT", "-TERM", "-KILL"] {
        let mut child = stagedoor(shop.path()).args(drill).stderr(Stdio::null()).spawn().unwrap();
        while left().is_empty() {
            assert!(child.try_wait().unwrap().is_none(), "it was too fast to be stopped");
            std::thread::sleep(Duration::from_millis(2));
        }
        let id = child.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
        assert!(!child.wait().unwrap().success());
        assert_eq!(left().len(), usize::from(signal == "-KILL"), "{signal}: {:?}", left());
    }
    let found = words(&run(shop.path(), &["doctor"]));
    assert!(found.contains("a drill that was killed left data and keys"), "{found}");
    answer(shop.path(), &drill);
    assert!(left().is_empty());
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_lost_passphrase_is_replaced_by_the_recovery_code() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("root").display().to_string();
    std::fs::write(&file, "the first passphrase").unwrap();
    let shop = Shop::init_with(&["--passphrase-file", &file]);
    let first = answer(shop.path(), &["key", "recovery", "new"])["code"].clone();
    let code = answer(shop.path(), &["key", "recovery", "new"])["code"].clone();
    let code = code.as_str().unwrap();
    assert_eq!(code.len(), 34);
    std::fs::write(&file, "the second passphrase").unwrap();
    refused(shop.path(), &["user", "list"], "wrong passphrase");
    let paper = dir.path().join("paper").display().to_string();
    let recover = ["key", "recovery", "use", "--code-file", &paper];
    std::fs::write(&paper, first.as_str().unwrap()).unwrap();
    refused(shop.path(), &recover, "does not open");
    std::fs::write(&paper, "0000-0000").unwrap();
    refused(shop.path(), &recover, "28 letters");
    std::fs::write(&paper, code.to_lowercase().replace('-', " ")).unwrap();
    answer(shop.path(), &recover);
    answer(shop.path(), &["user", "list"]);
    events(&shop);
}
