//! The story: what the house promises, seen through its public doors only. Each step either held
//! or did not; the story goes on as far as it can, and the exit code says whether all held.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kernel::{Clock as _, Secret, SystemClock};
use merkle::export::{ExportDir, ExportRules, verify_export};
use merkle::{Checkpoint, Policy, Resource, SignedCheckpoint, TileId, VerifyKey};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Stage;
use super::client::{Actor, Way};
use super::shop::PaidOrder;
use crate::command::serve::Served;
use crate::config::Loaded;
use crate::house::House;
use crate::{keep, out};

/// The network of the proxy that the story's actors come through.
pub(crate) const PROXY: &str = "127.0.0.2/32";
/// How long something may take that the house does by itself.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// Accounts that are opened from the restored backup.
const SAMPLES: usize = 5;
const PASSWORD: &str = "a curtain, a lamp and a teapot";
const BUYER: &str = "ada@story.example";
const SELLER: &str = "mara@story.example";
const PRODUCT: &str = "spotlight-lamp";

const ADA: [u8; 4] = [203, 0, 113, 10];
const ADAS_PHONE: [u8; 4] = [203, 0, 113, 11];
const THIEF: [u8; 4] = [198, 51, 100, 9];
const ATTACKER: [u8; 4] = [198, 51, 100, 66];
const STRANGER: [u8; 4] = [192, 0, 2, 44];
const SELLER_ADDRESS: [u8; 4] = [203, 0, 113, 12];
const OPERATOR: [u8; 4] = [192, 0, 2, 1];

/// Tells the facts API of each order that the shop takes, as its backend would.
pub(crate) fn tell_orders(
    served: &Served,
    house: &Arc<House>,
    key: Secret<String>,
    mut orders: mpsc::Receiver<PaidOrder>,
) -> anyhow::Result<()> {
    let way = way(served, house)?;
    #[expect(clippy::disallowed_methods, reason = "the demo's shop ends with the program")]
    tokio::spawn(async move {
        let mut backend = Actor::new(&way, [127, 0, 0, 2]);
        backend.token = Some(key.expose().clone());
        while let Some(order) = orders.recv().await {
            let fact = json!({ "facts": [{
                "id": format!("order-{}", order.number), "kind": "order.paid",
                "account": order.account,
                "fields": {
                    "order": order.number.to_string(), "amount_minor": order.amount_minor,
                    "currency": "EUR", "code": order.product,
                },
            }]});
            match backend.post_json("/v1/facts", &fact).await {
                Ok(answer) if answer.status.is_success() => {}
                Ok(answer) => {
                    tracing::warn!(status = %answer.status, words = answer.text(), "a fact was refused")
                }
                Err(error) => tracing::warn!(%error, "a fact could not be told"),
            }
        }
    });
    Ok(())
}

fn way(served: &Served, house: &House) -> anyhow::Result<Way> {
    let file = house.base.join(&house.config.data.dir).join("self-signed.crt");
    Way::new(served.door.local_addr(), &std::fs::read(file)?)
}

/// What the story keeps from step to step.
struct Story {
    way: Way,
    console: Way,
    operator: (String, Secret<String>),
    auditor: (String, Secret<String>),
    ada: Actor,
    phone: Actor,
    refresh: String,
    known: Option<Checkpoint>,
}

/// Plays it. True where every step held.
pub(crate) async fn play(stage: &Stage) -> anyhow::Result<bool> {
    let file = stage.house.base.join(&stage.house.config.data.dir).join("self-signed.crt");
    let certificate = std::fs::read(file)?;
    let way = Way::new(stage.served.door.local_addr(), &certificate)?;
    let person = |kind: &str| {
        let found = stage.people.iter().find(|person| person.kind == kind);
        found
            .map(|person| (person.email.to_owned(), person.password.clone()))
            .with_context(|| format!("the demo has no {kind}"))
    };
    let mut story = Story {
        console: Way::new(stage.served.console.local_addr(), &certificate)?,
        operator: person("operator (admin)")?,
        auditor: person("operator (auditor)")?,
        ada: Actor::new(&way, ADA),
        phone: Actor::new(&way, ADAS_PHONE),
        way,
        refresh: String::new(),
        known: None,
    };
    let began = SystemClock.now();
    let mut steps: Vec<Value> = Vec::new();
    let mut step = |title: &str, outcome: anyhow::Result<String>| {
        let (held, words) = match outcome {
            Ok(words) => (true, words),
            Err(error) => (false, format!("{error:#}")),
        };
        out::say(format!("{} {title}: {words}", if held { "✓" } else { "✗" }));
        steps.push(json!({ "step": title, "held": held, "words": words }));
    };
    step("a customer signs up", story.sign_up().await);
    step("she buys", story.buy().await);
    step("the shop tells order.paid", story.order_told().await);
    step("an influencer applies and is approved", story.apply().await);
    step("a stolen password leads half-way", story.half_way().await);
    step("an attacker sprays passwords and is answered", story.spray().await);
    step("a stolen refresh token ends its family", story.steal().await);
    step("a session is ended everywhere", story.end_everywhere().await);
    step("the log is proved offline", story.prove().await);
    step("a person is erased and the log still verifies", story.erase().await);
    step("a backup is restored in a throw-away place", restore_elsewhere(stage).await);
    let held = steps.iter().filter(|step| step["held"] == true).count();
    let took = SystemClock.now().since(began);
    out::say(format!("{held} of {} steps held, in {:.1} s.", steps.len(), took.as_secs_f64()));
    out::json(&json!({ "steps": steps, "held": held == steps.len() }));
    Ok(held == steps.len())
}

/// Backs the running house up, and tries whether that would save it: whoever is erased stays so.
async fn restore_elsewhere(stage: &Stage) -> anyhow::Result<String> {
    let house = stage.house.as_ref();
    let loaded = Loaded { config: house.config.clone(), base: house.base.clone() };
    let place = tempfile::Builder::new().prefix("stagedoor-backups-").tempdir()?;
    let (data, keys) = (place.path().join("data.backup"), place.path().join("keys.backup"));
    let passphrase = Secret::new(PASSWORD.to_owned());
    keep::backup::take(house, &data, Some(&keys), &passphrase).await?;
    let wanted = keep::restore::Wanted {
        data,
        keys: Some(keys),
        erased: Vec::new(),
        none_erased: true,
        dry_run: false,
        passphrase,
    };
    let report = keep::drill::hold(loaded, &wanted, SAMPLES).await?;
    ensure!(report.unreadable > 0, "nobody erased was looked for");
    let keep::drill::Report { rows, leaves, unreadable, .. } = report;
    Ok(format!("{rows} rows, {leaves} leaves verified, {unreadable} erased and unreadable"))
}

impl Story {
    async fn sign_up(&mut self) -> anyhow::Result<String> {
        let mut ada = Actor::new(&self.way, ADA);
        self.open_account(&mut ada, BUYER, "customer").await?;
        self.ada = ada;
        sign_in(&mut self.ada, BUYER).await?;
        Ok("password chosen behind the mailed link, signed in at the page".to_owned())
    }

    /// Signs somebody up, and chooses the password behind the mailed link.
    async fn open_account(
        &mut self,
        actor: &mut Actor,
        email: &str,
        kind: &str,
    ) -> anyhow::Result<()> {
        let body = json!({ "kind": kind, "email": email, "name": "Ada" });
        let answer = actor.post_json("/v1/sign-up", &body).await?;
        ensure!(answer.status.is_success(), "sign-up: {} {}", answer.status, answer.text());
        let token = self.mailed_token(email).await?;
        let body = json!({ "token": token, "password": PASSWORD });
        let answer = actor.post_json("/v1/verify-email", &body).await?;
        ensure!(answer.status.is_success(), "verify: {} {}", answer.status, answer.text());
        Ok(())
    }

    async fn apply(&mut self) -> anyhow::Result<String> {
        let mut mara = Actor::new(&self.way, SELLER_ADDRESS);
        self.open_account(&mut mara, SELLER, "influencer").await?;
        sign_in(&mut mara, SELLER).await?;
        let before = mara.get("/seller").await?;
        ensure!(before.status == 403, "who only applied is let in: {}", before.status);
        let account = text(&mara.get("/v1/account").await?.json()?, "id")?;
        let mut operator = self.at_console(&self.operator).await?;
        let path = format!("/console/applications/{account}/approve");
        let done = operator.submit(&path, &path, &[("reason", "a contract")]).await?;
        ensure!(done.status == 303, "approving: {} {}", done.status, done.text());
        let ended = mara.get("/auth/account").await?;
        ensure!(ended.status == 401, "the customer's session lives on: {}", ended.status);
        sign_in(&mut mara, SELLER).await?;
        let after = mara.get("/seller").await?;
        ensure!(after.status == 200, "who was approved is refused: {}", after.status);
        Ok("a customer until an operator approved it; then the sellers' page opened".to_owned())
    }

    /// The token of the newest link that was mailed to somebody.
    async fn mailed_token(&mut self, to: &str) -> anyhow::Result<String> {
        let deadline = SystemClock.now().plus(PATIENCE);
        loop {
            let letters = self.ada.get("/auth/dev/outbox.json").await?.json()?;
            let letter = letters.as_array().into_iter().flatten().find(|letter| letter["to"] == to);
            if let Some(link) = letter.and_then(|letter| letter["link"].as_str()) {
                let token = link.split_once("token=").context("the link has a token")?.1;
                return Ok(token.to_owned());
            }
            ensure!(SystemClock.now() < deadline, "no mail came");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn buy(&mut self) -> anyhow::Result<String> {
        let mut stranger = Actor::new(&self.way, STRANGER);
        let page = format!("/checkout?product={PRODUCT}");
        let refused = stranger.get(&page).await?;
        ensure!(refused.status == 303 || refused.status == 401, "a stranger: {}", refused.status);
        let seller = self.ada.get("/seller").await?;
        ensure!(seller.status == 403, "a customer on the sellers' page: {}", seller.status);
        let checkout = self.ada.get(&page).await?;
        ensure!(checkout.status == 200, "checkout: {} → {}", checkout.status, checkout.location);
        ensure!(checkout.text().contains("usr_"), "the shop was not told who asks");
        let paid = self.ada.submit(&page, "/checkout", &[("product", PRODUCT)]).await?;
        ensure!(paid.status == 303, "payment: {} {}", paid.status, paid.text());
        let orders = self.ada.get("/orders").await?.text();
        ensure!(orders.contains("Spotlight Lamp"), "the order is not there");
        Ok("the shop knows her by a signed header; a stranger was sent to sign in, and the sellers' \
            page refused her"
            .to_owned())
    }

    /// One of the staff, signed in at the console.
    async fn at_console(&self, who: &(String, Secret<String>)) -> anyhow::Result<Actor> {
        let mut actor = Actor::new(&self.console, OPERATOR);
        let (email, password) = (who.0.as_str(), who.1.expose().as_str());
        let fields = [("email", email), ("password", password), ("next", "")];
        let answer = actor.submit("/console/sign-in", "/console/sign-in", &fields).await?;
        ensure!(answer.status == 303, "console: {} {}", answer.status, answer.text());
        Ok(actor)
    }

    async fn order_told(&mut self) -> anyhow::Result<String> {
        let mut operator = self.at_console(&self.operator).await?;
        let deadline = SystemClock.now().plus(PATIENCE);
        loop {
            let page = operator.get("/console/events?kind=order.paid").await?;
            ensure!(page.status == 200, "the console's events: {}", page.status);
            if page.text().contains("/console/events/evt_") {
                return Ok("the fact is in the log, and the operator sees it".to_owned());
            }
            ensure!(SystemClock.now() < deadline, "the fact did not come");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The influencer has an authenticator app from here on.
    async fn half_way(&mut self) -> anyhow::Result<String> {
        let mut mara = Actor::new(&self.way, SELLER_ADDRESS);
        let password = json!({ "email": SELLER, "password": PASSWORD });
        let tokens = mara.post_json("/v1/sign-in", &password).await?.json()?;
        mara.token = Some(text(&tokens, "access_token")?);
        let begun = mara.post_json("/v1/account/factors/totp", &json!({ "name": "Phone" })).await?;
        let begun = begun.json()?;
        let key = totp_rs::Secret::try_from_base32(text(&begun, "key")?)?;
        let app = totp_rs::Builder::new().with_secret(key).build()?;
        let now = u64::try_from(SystemClock.now().seconds())?;
        let confirm = format!("/v1/account/factors/{}/confirm", text(&begun, "factor")?);
        let code = json!({ "code": app.generate(now).to_string() });
        let codes = mara.post_json(&confirm, &code).await?.json()?;
        let paper = codes.pointer("/backup_codes/0").and_then(Value::as_str);
        let paper = paper.context("no backup codes")?.to_owned();
        let mut thief = Actor::new(&self.way, THIEF);
        let half = thief.post_json("/v1/sign-in", &password).await?;
        ensure!(half.status == 202, "the password alone: {} {}", half.status, half.text());
        let half = text(&half.json()?, "pending")?;
        let mut refused = 0;
        for guess in 0..8 {
            let code = format!("{guess:06}");
            let guess = json!({ "pending": half, "method": "totp", "code": code });
            let answer = thief.post_json("/v1/sign-in/second", &guess).await?;
            ensure!([422, 429].contains(&answer.status.as_u16()), "a guess: {}", answer.status);
            refused += u32::from(answer.status == 429);
        }
        ensure!(refused == 3, "{refused} guesses of 8 were not even judged");
        let pending = mara.post_json("/v1/sign-in", &password).await?.json()?;
        let pending = text(&pending, "pending")?;
        let paper = json!({ "pending": pending, "method": "backup_code", "code": paper });
        let inside = mara.post_json("/v1/sign-in/second", &paper).await?;
        ensure!(inside.status == 200, "her backup code: {} {}", inside.status, inside.text());
        Ok("five guesses at the code were judged, and her backup code still lets her in".to_owned())
    }

    async fn spray(&mut self) -> anyhow::Result<String> {
        let mut attacker = Actor::new(&self.way, ATTACKER);
        let mut tried = 0;
        let blocked = 'spray: {
            for number in 0..60 {
                let body = json!({
                    "email": format!("victim{number}@story.example"), "password": "summer-2026!",
                });
                let answer = attacker.post_json("/v1/sign-in", &body).await?;
                tried += 1;
                if answer.status == 403 {
                    break 'spray true;
                }
                ensure!(
                    answer.status == 401 || answer.status == 429,
                    "try {number}: {} {}",
                    answer.status,
                    answer.text()
                );
            }
            wait_for(&mut attacker, "/", 403).await?
        };
        ensure!(blocked, "the attacker was not blocked after {tried} tries");
        let open = Actor::new(&self.way, STRANGER).get("/").await?;
        ensure!(open.status == 200, "an honest visitor: {}", open.status);
        let ada = self.ada.get("/orders").await?;
        ensure!(ada.status == 200, "the customer: {}", ada.status);
        Ok(format!("turned away at the door after {tried} tries; everybody else goes on"))
    }

    async fn steal(&mut self) -> anyhow::Result<String> {
        let body = json!({ "email": BUYER, "password": PASSWORD });
        let tokens = self.phone.post_json("/v1/sign-in", &body).await?.json()?;
        let stolen = text(&tokens, "refresh_token")?;
        let second = self.refreshed(&stolen).await?;
        let third = self.refreshed(&second).await?;
        let mut thief = Actor::new(&self.way, THIEF);
        let body = json!({ "refresh_token": stolen });
        let caught = thief.post_json("/v1/tokens/refresh", &body).await?;
        ensure!(caught.status == 401, "the thief: {} {}", caught.status, caught.text());
        let body = json!({ "refresh_token": third });
        let ended = self.phone.post_json("/v1/tokens/refresh", &body).await?;
        ensure!(ended.status == 401, "the family lives on: {}", ended.status);
        let browser = self.ada.get("/orders").await?;
        ensure!(browser.status == 200, "her browser was signed out too: {}", browser.status);
        Ok("the thief got nothing, that family is over, her browser's session lives".to_owned())
    }

    async fn refreshed(&mut self, token: &str) -> anyhow::Result<String> {
        let body = json!({ "refresh_token": token });
        let answer = self.phone.post_json("/v1/tokens/refresh", &body).await?;
        ensure!(answer.status == 200, "refresh: {} {}", answer.status, answer.text());
        self.phone.token = Some(text(&answer.json()?, "access_token")?);
        text(&answer.json()?, "refresh_token")
    }

    async fn end_everywhere(&mut self) -> anyhow::Result<String> {
        let body = json!({ "email": BUYER, "password": PASSWORD });
        let answer = self.phone.post_json("/v1/sign-in", &body).await?;
        ensure!(answer.status == 200, "the phone: {} {}", answer.status, answer.text());
        self.phone.token = Some(text(&answer.json()?, "access_token")?);
        self.refresh = text(&answer.json()?, "refresh_token")?;
        let before = self.phone.get("/orders").await?;
        ensure!(before.status == 200, "the phone before: {}", before.status);
        let ended = self.ada.delete("/v1/sessions", None).await?;
        ensure!(ended.status.is_success(), "ending: {} {}", ended.status, ended.text());
        let began = SystemClock.now();
        ensure!(wait_for(&mut self.phone, "/orders", 401).await?, "the phone's token still works");
        let took = SystemClock.now().since(began);
        let body = json!({ "refresh_token": self.refresh });
        let refresh = self.phone.post_json("/v1/tokens/refresh", &body).await?;
        ensure!(refresh.status == 401, "the phone's refresh token still works");
        Ok(format!(
            "the phone's signed token was refused {} ms after the answer, though it is good for \
             minutes; its refresh token is dead",
            took.as_millis()
        ))
    }

    async fn prove(&mut self) -> anyhow::Result<String> {
        let (report, known) = self.verify_log(&[]).await?;
        self.known = Some(known);
        Ok(report)
    }

    /// Downloads the whole log, its entries as an auditor, and checks it with nothing but the key.
    async fn verify_log(&mut self, known: &[Checkpoint]) -> anyhow::Result<(String, Checkpoint)> {
        let key = self.ada.get("/v1/log/key").await?.text();
        let policy = Policy::new(vec![VerifyKey::parse(key.trim())?])?;
        let note = self.ada.get("/v1/log/checkpoint").await?;
        ensure!(note.status == 200, "the checkpoint: {}", note.status);
        let checkpoint = policy.verify(&SignedCheckpoint::parse(&note.bytes)?)?.checkpoint;
        let mut auditor = self.at_console(&self.auditor).await?;
        let mut files = BTreeMap::from([("checkpoint".to_owned(), note.bytes.to_vec())]);
        for id in TileId::all(checkpoint.size()) {
            let path = Resource::Tile(id).path();
            let answer = self.ada.get(&format!("/v1/log/{path}")).await?;
            ensure!(answer.status == 200, "{path}: {}", answer.status);
            files.insert(path, answer.bytes.to_vec());
            if id.level() == 0 {
                let path = Resource::Entries(id).path();
                let answer = auditor.get(&format!("/v1/log/{path}")).await?;
                ensure!(answer.status == 200, "{path}: {}", answer.status);
                files.insert(path, answer.bytes.to_vec());
            }
        }
        let rules = ExportRules { known: known.to_vec(), ..ExportRules::default() };
        let report = verify_export(&Files(files), &policy, &rules, &mut |_| {})?;
        let words = format!(
            "{} entries downloaded and hashed to the signed root {}",
            report.entries,
            checkpoint.root()
        );
        Ok((words, checkpoint))
    }

    async fn erase(&mut self) -> anyhow::Result<String> {
        let body = json!({ "password": PASSWORD });
        let gone = self.ada.delete("/v1/account", Some(&body)).await?;
        ensure!(gone.status.is_success(), "erasing: {} {}", gone.status, gone.text());
        let body = json!({ "email": BUYER, "password": PASSWORD });
        let back = Actor::new(&self.way, ADA).post_json("/v1/sign-in", &body).await?;
        ensure!(back.status == 401, "she can still sign in: {}", back.status);
        let known: Vec<Checkpoint> = self.known.iter().cloned().collect();
        let mut again = self.verify_log(&known).await?;
        let deadline = SystemClock.now().plus(PATIENCE);
        // The erasure itself must be under the checkpoint that is checked.
        while known.iter().any(|known| again.1.size() <= known.size()) {
            ensure!(SystemClock.now() < deadline, "the log did not grow");
            tokio::time::sleep(LOOK_AGAIN).await;
            again = self.verify_log(&known).await?;
        }
        Ok(format!("her key is destroyed; {}; it grew out of the one seen before", again.0))
    }
}

/// Signs in at the shop's page.
async fn sign_in(actor: &mut Actor, email: &str) -> anyhow::Result<()> {
    let fields = [("email", email), ("password", PASSWORD), ("next", "/")];
    let answer = actor.submit("/auth/sign-in", "/auth/sign-in", &fields).await?;
    ensure!(answer.status == 303, "sign-in: {} {}", answer.status, answer.text());
    Ok(())
}

fn text(value: &Value, name: &str) -> anyhow::Result<String> {
    let found = value[name].as_str();
    Ok(found.with_context(|| format!("no {name} in {value}"))?.to_owned())
}

/// Asks again until the answer has this status, or patience is over.
async fn wait_for(actor: &mut Actor, path: &str, status: u16) -> anyhow::Result<bool> {
    let deadline = SystemClock.now().plus(PATIENCE);
    loop {
        if actor.get(path).await?.status == status {
            return Ok(true);
        }
        if SystemClock.now() > deadline {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The downloaded files.
struct Files(BTreeMap<String, Vec<u8>>);

impl ExportDir for Files {
    fn read(&self, path: &str, max_bytes: usize) -> Result<Option<Vec<u8>>, String> {
        match self.0.get(path) {
            Some(bytes) if bytes.len() > max_bytes => Err("too long".to_owned()),
            found => Ok(found.cloned()),
        }
    }
}
