//! A disk that is full: what would write is refused and told so, what reads goes on, nothing that
//! was answered is lost, and once there is room again all goes on without a restart.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::program::{Serving, Shop};

/// How long it may take until room that is there again is found.
const PATIENCE: Duration = Duration::from_secs(10);

/// A small disk of its own for a folder.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Puts the folder with what is in it on a disk of this size; none where nobody may mount, which
    /// is said loudly, and in CI is a failure.
    pub(crate) fn under(folder: &Path, kib: u32) -> Option<Self> {
        let aside = folder.with_extension("aside");
        std::fs::create_dir_all(folder).unwrap();
        let copy = |from: &Path, to: &Path| {
            let copied = Command::new("cp").args(["-a", "-T"]).args([from, to]).status();
            assert!(copied.unwrap().success());
        };
        copy(folder, &aside);
        let size = format!("size={kib}k,mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder);
        if !mount.output().is_ok_and(|output| output.status.success()) {
            assert!(std::env::var_os("CI").is_none(), "CI mounts a small disk: run it as root");
            eprintln!("LEFT OUT: a full disk: only root may mount a small one");
            return None;
        }
        copy(&aside, folder);
        Some(Self(folder.to_owned()))
    }

    pub(crate) fn fill(&self) {
        use std::io::Write as _;
        let mut ballast = std::fs::File::create(self.0.join("ballast")).unwrap();
        for size in [64 * 1024, 1024, 1] {
            while ballast.write_all(&vec![7; size]).is_ok() {}
        }
    }

    pub(crate) fn clear(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn size_of_log(serving: &Serving, shop: &Shop) -> u64 {
    let (status, note) = serving.curl(shop, &[], "/v1/log/checkpoint");
    assert_eq!(status, 200, "{note}");
    note.lines().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let shop = Shop::init();
    let Some(disk) = Disk::under(&shop.path().join("var"), 16 * 1024) else { return };
    shop.lift_limits();
    shop.customer("ada@x.example");
    let (serving, service) = (shop.serve(), shop.service());
    let tokens = serving.sign_in(&shop, "ada@x.example");
    let bearer = format!("authorization: Bearer {}", tokens["access_token"].as_str().unwrap());
    let status = |path: &str| serving.curl(&shop, &["-H", &bearer], path).0;
    let mut told = Vec::new();
    for round in 0..2 {
        disk.fill();
        let mut refused = 0;
        // what room is left in the files themselves may still take some
        for number in 0..2_000 {
            let id = format!("{round}-{number}");
            let (status, answer) = serving.tell(&shop, &service, &id);
            if status == 200 {
                told.push(id);
                continue;
            }
            assert_eq!((status, &answer["status"]), (503, &json!(503)), "{answer}");
            refused += 1;
            if refused == 5 {
                break;
            }
        }
        assert_eq!(refused, 5, "the disk is not full");
        let body = json!({ "email": "new@x.example", "name": "New" });
        let (answered, problem) = serving.post(&shop, &[], ("/v1/sign-up", &body));
        assert_eq!(answered, 503, "{problem}");
        for path in ["/auth/sign-in", "/v1/account", "/v1/log/checkpoint"] {
            assert_eq!(status(path), 200, "{path} on a full disk");
        }
        disk.clear();
        until("it does not find the room", || {
            let id = format!("{round}-after");
            let taken = serving.tell(&shop, &service, &id).0 == 200;
            if taken {
                told.push(id);
            }
            taken
        });
        let (answered, problem) = serving.post(&shop, &[], ("/v1/sign-up", &body));
        assert_eq!(answered, 202, "{problem}");
    }
    // told again, what was answered is known; and a kill finds all of it on the disk
    serving.kill();
    let before = shop.verified();
    let serving = shop.serve();
    for id in &told {
        assert_eq!(serving.tell(&shop, &service, id).0, 200);
    }
    assert_eq!(serving.stop(), Some(0));
    assert!(before >= told.len() as u64);
    assert_eq!(shop.verified(), before, "a fact was taken twice");
}

#[test]
fn a_node_that_cannot_write_down_what_it_saw_signs_nothing_until_it_can() {
    let shop = Shop::init();
    let Some(disk) = Disk::under(&shop.path().join("var/node"), 64) else { return };
    shop.lift_limits();
    shop.edit("publish_every_s = 10", "publish_every_s = 1");
    let (serving, service) = (shop.serve(), shop.service());
    assert_eq!(serving.tell(&shop, &service, "before").0, 200);
    // many looks of the sequencer, and at what is published
    std::thread::sleep(Duration::from_secs(3));
    let signed = size_of_log(&serving, &shop);
    disk.fill();
    assert_eq!(serving.tell(&shop, &service, "meanwhile").0, 200);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(size_of_log(&serving, &shop), signed, "signed what it may have forgotten");
    assert!(shop.log().contains("last-tree"), "{}", shop.log());
    disk.clear();
    until("it signs no more", || size_of_log(&serving, &shop) > signed);
    serving.kill();
    shop.verified();
}
