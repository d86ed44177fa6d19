//! Mails to a server that we did not write: STARTTLS, a password, an authority of its own; put off,
//! refused for good, and silent.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::program::{PASSWORD, Serving, Shop, run, words};

const USER: &str = "shop-mailer";
const SECRET: &str = "a secret of the mail server";
/// Longer than the first wait before another try (10 s and a quarter).
const PATIENCE: Duration = Duration::from_secs(30);

struct MailServer {
    child: Child,
    port: String,
    told: Receiver<Value>,
    authority: String,
}

impl MailServer {
    /// None where the peer is not installed and may be left out.
    fn start(dir: &Path) -> Option<Self> {
        let there = Command::new("python3").args(["-c", "import aiosmtpd"]).output();
        if !there.is_ok_and(|output| output.status.success()) {
            assert!(std::env::var_os("CI").is_none(), "aiosmtpd is missing: `cargo xtask setup`");
            eprintln!("LEFT OUT: mails to a real server: aiosmtpd is missing: `cargo xtask setup`");
            return None;
        }
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (dir.join("mail.crt"), dir.join("mail.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peer/mail_server.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args([&certificate, &key])
            .args([USER, SECRET])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let port = first.strip_prefix("listening ").unwrap().to_owned();
        let (sender, told) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // The test may have seen enough.
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Some(Self { child, port, told, authority: certificate.display().to_string() })
    }

    fn next(&self, shop: &Shop) -> Value {
        let told = self.told.recv_timeout(PATIENCE);
        told.unwrap_or_else(|_| panic!("the mail server hears nothing: {}", mails(&shop.log())))
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shop_with(server: &MailServer, authority: &str) -> Shop {
    let shop = Shop::init_with(&[]);
    std::fs::write(shop.path().join("mail.pw"), SECRET).unwrap();
    shop.edit("name = \"Shop\"", "name = \"Müller & Söhne – Läden\"");
    let port = &server.port;
    shop.edit(
        "to = \"outbox\"",
        &format!(
            "to = \"smtp\"\nfrom = \"Müller <no-reply@shop.example>\"\nsmtp_host = \"localhost\"\n\
             smtp_port = {port}\nsmtp_user = \"{USER}\"\nsmtp_password_file = \"mail.pw\"\n\
             smtp_mail_max_ms = 1000\n{authority}"
        ),
    );
    shop.edit("[shop]", "[log]\nlevel = \"debug\"\n\n[shop]");
    shop
}

fn sign_up(serving: &Serving, shop: &Shop, email: &str) {
    let body = json!({ "email": email, "name": "Ada Łęcka" });
    let (status, answer) = serving.post(shop, &[], ("/v1/sign-up", &body));
    assert_eq!(status, 202, "{answer}");
}

/// What the program's log says of mails.
fn mails(log: &str) -> String {
    let of_mails = |line: &&str| line.contains("a mail");
    log.lines().filter(of_mails).collect::<Vec<_>>().join("\n")
}

fn assert_well_formed(letter: &Value) {
    assert_eq!(letter["to"], json!(["ada@x.example"]));
    assert_eq!(letter["sender"], "no-reply@shop.example");
    assert_eq!((&letter["user"], &letter["tls"]), (&json!(USER), &json!("TLSv1.3")));
    assert_eq!(letter["header_to"], "ada@x.example");
    assert_eq!(letter["header_from"], "Müller <no-reply@shop.example>");
    assert_eq!(letter["subject"], "Confirm your e-mail address for Müller & Söhne – Läden");
    assert_eq!(letter["type"], "multipart/alternative");
    assert_eq!(letter["defects"], json!([]), "{letter}");
    assert!(letter["longest"].as_u64().unwrap() <= 998, "RFC 5321: {letter}");
    let id = letter["message_id"].as_str().unwrap();
    assert!(id.starts_with("<mai_") && id.ends_with("@shop.example>"), "{id}");
    let sent = letter["date"].as_f64().unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((now - sent).abs() < 60.0, "{sent}");
    assert!(letter["text"].as_str().unwrap().contains("Müller & Söhne – Läden"), "{letter}");
    assert!(letter["html"].as_str().unwrap().contains("Söhne"), "{letter}");
}

#[test]
fn a_mail_server_with_moods_gets_every_letter_that_it_takes() {
    let dir = tempfile::TempDir::new().unwrap();
    let Some(server) = MailServer::start(dir.path()) else { return };
    let shop = shop_with(&server, &format!("smtp_ca_file = \"{}\"", server.authority));
    let serving = shop.serve();
    sign_up(&serving, &shop, "ada@x.example");
    let letter = server.next(&shop);
    assert_well_formed(&letter);
    // the link in it leads in
    let text = letter["text"].as_str().unwrap();
    let (_, rest) = text.split_once("/auth/verify?token=").unwrap();
    let token = rest.split_whitespace().next().unwrap();
    let (status, answer) = serving.post(
        &shop,
        &[],
        ("/v1/verify-email", &json!({ "token": token, "password": PASSWORD })),
    );
    assert_eq!(status, 204, "{answer}");
    serving.sign_in(&shop, "ada@x.example");
    // put off once, and meanwhile another is refused for good, and one is not answered
    sign_up(&serving, &shop, "later@x.example");
    assert_eq!(server.next(&shop)["mood"], "later");
    sign_up(&serving, &shop, "never@x.example");
    assert_eq!(server.next(&shop)["mood"], "never");
    sign_up(&serving, &shop, "silent@x.example");
    assert_eq!(server.next(&shop)["mood"], "silent");
    sign_up(&serving, &shop, "grace@x.example");
    assert_eq!(server.next(&shop)["to"], json!(["grace@x.example"]), "one silence stops all");
    let second = loop {
        let told = server.next(&shop);
        if told["mood"] != "silent" {
            break told;
        }
    };
    assert_eq!(second["to"], json!(["later@x.example"]));
    assert_eq!(serving.stop(), Some(0));
    let log = shop.log();
    assert_eq!(log.matches("a mail given up").count(), 1, "{}", mails(&log));
    assert!(log.matches("a mail waits").count() >= 2, "{}", mails(&log));
    assert!(!log.contains("never@x.example"), "an address in the log");
    let doctor = words(&run(shop.path(), &["doctor"]));
    assert!(doctor.contains("1 mails were given up"), "{doctor}");
    assert_no_secret(&log);
    shop.verified();
}

fn assert_no_secret(log: &str) {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let plain = STANDARD.encode(format!("\0{USER}\0{SECRET}"));
    for secret in [SECRET, PASSWORD, &plain, &STANDARD.encode(SECRET), "verify?token="] {
        assert!(!log.contains(secret), "a secret in the log");
    }
}

/// A first letter waits, and the program says why.
fn waits(shop: &Shop, server: &MailServer, why: &str) {
    let serving = shop.serve();
    sign_up(&serving, shop, "ada@x.example");
    let waits = |log: &str| log.contains("a mail waits");
    for _ in 0..100 {
        if waits(&shop.log()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let log = shop.log();
    assert!(waits(&log) && log.contains(why), "{}", mails(&log));
    assert!(server.told.try_recv().is_err());
    assert_eq!(serving.stop(), Some(0));
    assert_no_secret(&log);
}

#[test]
fn a_mail_server_of_an_unknown_authority_gets_neither_password_nor_letter() {
    let dir = tempfile::TempDir::new().unwrap();
    let Some(server) = MailServer::start(dir.path()) else { return };
    waits(&shop_with(&server, ""), &server, "TLS failed");
}

#[test]
fn a_wrong_password_of_the_mail_server_costs_no_letter() {
    let dir = tempfile::TempDir::new().unwrap();
    let Some(server) = MailServer::start(dir.path()) else { return };
    let shop = shop_with(&server, &format!("smtp_ca_file = \"{}\"", server.authority));
    std::fs::write(shop.path().join("mail.pw"), "another secret").unwrap();
    waits(&shop, &server, "it does not let us in");
}
