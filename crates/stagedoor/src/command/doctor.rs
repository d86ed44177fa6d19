//! `doctor`: what is wrong here, and how to mend it. Changes nothing.

use std::borrow::Cow;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use spine::Newer;
use store::Backend;

use crate::config::{Loaded, Mode, RootKind, load};
use crate::house::House;
use crate::processes::keyholder;
use crate::rooms::rooms;
use crate::{certificates, out, processes};

/// One thing that was looked at.
struct Finding {
    what: Cow<'static, str>,
    /// None: it is right.
    wrong: Option<(Weight, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Works, but should be mended.
    Warning,
    /// Does not work.
    Fault,
}

fn right(what: &'static str) -> Finding {
    Finding { what: what.into(), wrong: None }
}

fn warning(what: &'static str, mend: impl Into<String>) -> Finding {
    Finding { what: what.into(), wrong: Some((Weight::Warning, mend.into())) }
}

fn fault(what: &'static str, mend: impl Into<String>) -> Finding {
    Finding { what: what.into(), wrong: Some((Weight::Fault, mend.into())) }
}

/// Looks at everything, in the order in which it is needed. Exit code 1 where a fault was found.
/// `inside` leaves out the configuration and the files.
pub(crate) async fn run(file: &Path, inside: bool) -> anyhow::Result<ExitCode> {
    let mut findings = Vec::new();
    match load(file) {
        Err(error) => findings.push(fault("configuration", format!("{error:#}"))),
        Ok(loaded) if inside => look_inside(loaded, &mut findings).await,
        Ok(loaded) => {
            findings.push(right("configuration"));
            findings.extend(look_at_files(&loaded));
            // What root opened, core could not open afterwards.
            match processes::users::as_core(&loaded.config)? {
                Some(command) => findings.extend(look_as_core(command, file)),
                None => look_inside(loaded, &mut findings).await,
            }
        }
    }
    let mut worst = ExitCode::SUCCESS;
    let mut rows = Vec::new();
    for finding in &findings {
        let (sign, mend) = match &finding.wrong {
            None => ("✓", ""),
            Some((Weight::Warning, mend)) => ("!", mend.as_str()),
            Some((Weight::Fault, mend)) => {
                worst = ExitCode::FAILURE;
                ("✗", mend.as_str())
            }
        };
        out::say(format!(
            "{sign} {}{}{mend}",
            finding.what,
            if mend.is_empty() { "" } else { ": " }
        ));
        rows.push(serde_json::json!({ "what": &*finding.what, "state": sign, "mend": mend }));
    }
    out::json(&serde_json::json!({ "findings": rows }));
    Ok(worst)
}

fn look_at_files(loaded: &Loaded) -> Vec<Finding> {
    let places = loaded.places();
    let mut findings = Vec::new();
    // A keyholder of its own is asked, once the vault is open.
    if loaded.config.keyholder.socket.is_none() {
        let live = loaded.config.mode == Mode::Live;
        findings.push(look_at_root(loaded.config.root.kind == RootKind::KeyFile, live));
        findings.push(match vault::same_volume(&places.data, &places.keys) {
            Ok(same) => look_at_volumes(same, live),
            Err(error) => fault(APART, error.to_string()),
        });
    }
    findings.push(look_at_modes(loaded));
    let above = places.data.parent().unwrap_or(&loaded.base);
    let left = [places.data.as_path(), above].map(crate::keep::places::left).concat();
    if !left.is_empty() {
        let left: Vec<_> = left.iter().map(|place| place.display().to_string()).collect();
        let mend = format!("a drill that was killed left data and keys: rm -r {}", left.join(" "));
        findings.push(warning("drills", mend));
    }
    findings.push(look_at_processes(loaded));
    if loaded.config.shows_mails_to_the_world() {
        findings.push(warning(
            "mails",
            "/auth/dev/outbox shows every mail, and with it every link to choose a password, to \
             whoever reaches listen.public: listen on 127.0.0.1, or set identity.mail.to = \"smtp\"",
        ));
    }
    let tls = &loaded.config.tls;
    if tls.cert_file.is_none() && !loaded.config.listen.plain {
        findings.push(warning(
            "certificate",
            "a self-signed one is used: set tls.cert_file and tls.key_file",
        ));
    }
    findings.push(match certificates::check(&loaded.config, &loaded.base) {
        Ok(()) => right("certificate files"),
        Err(error) => fault("certificate files", format!("{error:#}")),
    });
    findings
}

/// Who runs as whom, and what that does not promise here.
fn look_at_processes(loaded: &Loaded) -> Finding {
    const WHAT: &str = "separate processes";
    let config = &loaded.config.processes;
    if !config.separate {
        let mend = "the door and the data are one process: set separate = true in [processes]";
        return warning(WHAT, mend);
    }
    if let Err(error) = processes::check(loaded) {
        return fault(WHAT, format!("{error:#}"));
    }
    let users = processes::Kind::started(config).map(|kind| match kind.user(config) {
        "" => format!("{} as whoever serves", kind.name()),
        user => format!("{} as {user}", kind.name()),
    });
    let users: Vec<String> = users.collect();
    let off = processes::promises_off(&loaded.config).into_iter().chain(processes::kernel_lacks());
    let off: Vec<String> = off.chain(processes::open_processes()).collect();
    if off.is_empty() {
        return right(WHAT);
    }
    warning(WHAT, format!("{}; promises off: {}", users.join(", "), off.join("; ")))
}

/// The findings of this program as core's user.
fn look_as_core(mut command: Command, file: &Path) -> Vec<Finding> {
    const WHAT: &str = "the house, as core's user";
    let said = command.args(["--json", "--config"]).arg(file).args(["doctor", "--inside"]).output();
    let said = match said {
        Ok(said) => said,
        Err(error) => return vec![fault(WHAT, error.to_string())],
    };
    let Ok(Rows { findings }) = serde_json::from_slice(&said.stdout) else {
        return vec![fault(WHAT, String::from_utf8_lossy(&said.stderr).trim().to_owned())];
    };
    let finding = |Row { what, state, mend }| {
        let weight = if state == "!" { Weight::Warning } else { Weight::Fault };
        Finding { what: what.into(), wrong: (state != "✓").then_some((weight, mend)) }
    };
    findings.into_iter().map(finding).collect()
}

/// What `doctor --json` says.
#[derive(serde::Deserialize)]
struct Rows {
    findings: Vec<Row>,
}

#[derive(serde::Deserialize)]
struct Row {
    what: String,
    state: String,
    mend: String,
}

fn look_at_root(is_in_the_clear: bool, live: bool) -> Finding {
    const WHAT: &str = "root key";
    let mend = "set root.kind = \"passphrase\": the root key stands in the clear";
    match (is_in_the_clear, live) {
        (false, _) => right(WHAT),
        (true, true) => fault(WHAT, mend),
        (true, false) => warning(WHAT, mend),
    }
}

const APART: &str = "keys and data apart";

fn look_at_volumes(are_one: bool, live: bool) -> Finding {
    let mend = "keys and data lie on one volume: set data.keys_dir (keyholder.dir) to another one, \
                outside the data's backups";
    match (are_one, live) {
        (false, _) => right(APART),
        (true, true) => fault(APART, mend),
        (true, false) => warning(APART, mend),
    }
}

/// Whether the program may more in the database than it needs.
async fn look_at_power(db: &store::Db) -> Option<Finding> {
    const WHAT: &str = "database role";
    let power = match store::power(db).await {
        Ok(power) => power?,
        Err(error) => return Some(fault(WHAT, error.to_string())),
    };
    let why = match (power.is_superuser, power.is_owner) {
        (true, _) => "a superuser",
        (false, true) => "the tables' owner",
        (false, false) => return Some(right(WHAT)),
    };
    let mend = format!(
        "the program is connected as {}, {why}: who takes it over can change or drop every table. \
         Make a role of its own, run `stagedoor database grants --apply`, and connect as that role",
        power.role
    );
    Some(warning(WHAT, mend))
}

/// Whether the keyholder is a process of its own, and how it stands.
async fn look_at_keyholder(house: &House, data: &Path) -> Vec<Finding> {
    const WHAT: &str = "keyholder";
    let facts = match house.vault.facts(data).await {
        Ok(facts) => facts,
        Err(error) => return vec![fault(WHAT, error.to_string())],
    };
    let mut findings = Vec::new();
    if facts.rotation_unfinished {
        let mend = "an epoch rotation was cut short: run `stagedoor key rotate epoch`";
        findings.push(warning("epoch", mend));
    }
    if house.config.keyholder.socket.is_none() {
        let mend = "this program opens the root key itself: who takes it over has every key. Run \
                    `stagedoor keyholder serve` as another user, and set keyholder.socket";
        findings.push(warning(WHAT, mend));
        return findings;
    }
    let live = house.config.mode == Mode::Live;
    findings.push(right(WHAT));
    findings.push(look_at_root(facts.root == "key file", live));
    findings.push(look_at_volumes(facts.same_volume, live));
    if facts.exposed {
        findings.push(fault(WHAT, "others on its host can read its folder: chmod 0700"));
    }
    findings
}

/// Whether what only this program should read is closed to others on this host.
fn look_at_modes(loaded: &Loaded) -> Finding {
    use std::os::unix::fs::PermissionsExt as _;
    const WHAT: &str = "files closed to others";
    let (config, places) = (&loaded.config, loaded.places());
    let mut private = vec![places.data, places.keys];
    let named = [
        config.root.passphrase_file.clone(),
        config.tls.key_file.clone(),
        config.identity.mail.smtp_password_file.as_ref().map(std::path::PathBuf::from),
        config.forward_auth.as_ref().and_then(|forward| forward.secret_file.clone()),
    ];
    let header_keys = config.header_key.iter().map(|key| key.file.clone());
    let shown = config.tls.more.iter().map(|more| more.key_file.clone());
    let upstream = config.upstream_tls.iter().filter_map(|tls| tls.key_file.clone());
    let keys = header_keys.chain(shown).chain(upstream);
    private.extend(named.into_iter().flatten().chain(keys).map(|file| loaded.base.join(file)));
    let open = |path: &&std::path::PathBuf| {
        std::fs::metadata(path).is_ok_and(|known| known.permissions().mode() & 0o077 != 0)
    };
    let open: Vec<String> =
        private.iter().filter(open).map(|path| path.display().to_string()).collect();
    if open.is_empty() {
        return right(WHAT);
    }
    warning(WHAT, format!("others on this host can open them: chmod go= {}", open.join(" ")))
}

async fn look_inside(loaded: Loaded, findings: &mut Vec<Finding>) {
    let db = match loaded.open_database().await {
        Ok(db) => db,
        Err(error) => return findings.push(fault("database", format!("{error:#}"))),
    };
    findings.push(right("database"));
    findings.extend(look_at_power(&db).await);
    let rooms = match rooms() {
        Ok(rooms) => rooms,
        Err(error) => return findings.push(fault("rooms", error.to_string())),
    };
    match store::standing(&db, &rooms.migrations()).await {
        Ok(standing) if standing.missing.is_empty() => {
            let newer = standing.newer.len();
            let tolerated = if newer == 0 { Newer::Unknown } else { Newer::Tolerated };
            let (tables, statements) = (rooms.tables(), rooms.statements());
            match spine::check_schema_under(&db, &tables, &statements, tolerated).await {
                Ok(()) if newer == 0 => findings.push(right("schema")),
                Ok(()) => findings.push(warning(
                    "schema",
                    format!(
                        "it is {newer} steps newer than this program, which runs on it: update \
                         this node too"
                    ),
                )),
                Err(error) => findings.push(fault("schema", error.to_string())),
            }
        }
        Ok(standing) => {
            let steps = standing.missing.len();
            let mend = format!("{steps} steps are missing: run `stagedoor migrate`");
            return findings.push(fault("schema", mend));
        }
        Err(error) => return findings.push(fault("schema", error.to_string())),
    }
    if db.backend() == Backend::Postgres && loaded.config.data.keys_database_url.is_none() {
        findings.push(warning(
            "keys' database",
            "it is a file on this host; other nodes need data.keys_database_url",
        ));
    }
    db.close().await;
    let data = loaded.places().data;
    // It is looked at, not waited for.
    let socket = keyholder::socket(&loaded);
    if let Some(socket) = socket.filter(|_| !keyholder::answers(&loaded)) {
        let mend = format!("no keyholder answers at {}: is the house served?", socket.display());
        return findings.push(fault("vault", mend));
    }
    let house = match House::open(loaded).await {
        Ok(house) => house,
        Err(error) => return findings.push(fault("vault", format!("{error:#}"))),
    };
    findings.push(right("vault"));
    findings.extend(look_at_keyholder(&house, &data).await);
    look_at_log(&house, findings).await;
    look_at_host(&house, findings).await;
    house.spine.close().await;
    house.vault.close().await;
}

/// The disk, the clock, the operators' listener and the systems outside.
async fn look_at_host(house: &House, findings: &mut Vec<Finding>) {
    let (disk, clock, sinks) = ("disk", "clock", "systems outside");
    if let Err(error) = house.observe.look().await {
        findings.push(fault(disk, format!("{:#}", anyhow::Error::from(error))));
    }
    let found = |what, wrong: Option<String>| match wrong {
        Some(wrong) => warning(what, wrong),
        None => right(what),
    };
    findings.push(found(disk, house.observe.disk().warning()));
    findings.push(found(clock, house.observe.clock().warning()));
    let observe = &house.config.observe;
    if observe.listen.is_some_and(|listen| !listen.ip().is_loopback()) {
        let more = if observe.token_file.is_some() { "" } else { ", or set observe.token_file" };
        findings.push(warning(
            "operators' listener",
            format!(
                "observe.listen is reached from other hosts, and speaks plain HTTP: listen on \
                 127.0.0.1{more}"
            ),
        ));
    }
    let lags = match house.spine.standing().await {
        Ok(standing) => house.observe.lags(standing.size).await,
        Err(error) => Err(error.into()),
    };
    match lags {
        Ok(lags) => {
            let behind = lags.iter().filter(|(_, lag)| *lag > SINK_BEHIND);
            let behind: Vec<String> =
                behind.map(|(name, lag)| format!("{name} has not heard of {lag} events")).collect();
            let mend = (!behind.is_empty())
                .then(|| format!("{}: look for `sink` in the program's log", behind.join(", ")));
            findings.push(found(sinks, mend));
        }
        Err(error) => findings.push(fault(sinks, format!("{:#}", anyhow::Error::from(error)))),
    }
}

const SEQUENCED: &str = "events get their leaves";
/// How long an event may wait for its leaf where a program serves.
const LEAF_WAIT: Duration = Duration::from_secs(60);

/// Whether the log grows.
async fn look_at_outbox(house: &House) -> anyhow::Result<Finding> {
    house.spine.compare_clock().await?;
    let (standing, nodes) = (house.spine.standing().await?, house.spine.nodes().await?);
    let serves = nodes.iter().any(|entry| entry.lives(house.spine.house_time()));
    let waited = standing.oldest.map(|oldest| house.clock.now().since(oldest));
    Ok(match waited.filter(|waited| serves && *waited > LEAF_WAIT) {
        None => right(SEQUENCED),
        Some(waited) => {
            let (waiting, waited_s) = (standing.waiting, waited.as_secs());
            let mend = format!(
                "{waiting} wait, the oldest for {waited_s} s: rules, sinks and erasure hear of none of \
                 them. The log of the node that sequences says why, under `the sequencer`"
            );
            fault(SEQUENCED, mend)
        }
    })
}

async fn look_at_log(house: &House, findings: &mut Vec<Finding>) {
    match house.spine.checkpoint().await {
        Ok(Some(_)) => findings.push(right("log is signed")),
        Ok(None) => {
            findings.push(warning("log is signed", "nothing is signed yet: `stagedoor serve`"))
        }
        Err(error) => findings.push(fault("log is signed", error.to_string())),
    }
    match look_at_outbox(house).await {
        Ok(finding) => findings.push(finding),
        Err(error) => findings.push(fault(SEQUENCED, format!("{error:#}"))),
    }
    match look_at_witnesses(house).await {
        Ok(finding) => findings.push(finding),
        Err(error) => findings.push(fault(WITNESSES, format!("{error:#}"))),
    }
    match unreadable(house).await {
        Ok(finding) => findings.push(finding),
        Err(error) => findings.push(fault(READABLE, error.to_string())),
    }
    match super::node::mends(house).await {
        Ok(mends) if mends.is_empty() => findings.push(right("nodes")),
        Ok(mends) => findings.push(warning("nodes", mends.join("; "))),
        Err(error) => findings.push(fault("nodes", format!("{error:#}"))),
    }
    match house.access.plan(&house.config.edge_config()).await {
        Ok((revision, diff)) if diff.is_empty() && revision > 0 => findings.push(right(ROUTES)),
        Ok(_) => findings.push(warning(
            ROUTES,
            "they differ: see `stagedoor config plan`, then `stagedoor config apply`",
        )),
        Err(error) => findings.push(fault(ROUTES, error.to_string())),
    }
    match house.identity.mail_waiting().await {
        Ok(waiting) if waiting.given_up > 0 => findings.push(warning(
            "mail",
            format!(
                "{} mails were given up: the mail server refuses them for good, or did so too \
                 often; the program's log says why, under `a mail given up`",
                waiting.given_up
            ),
        )),
        Ok(waiting) if waiting.waiting == 0 || !is_old(house, waiting.oldest_at) => {
            findings.push(right("mail"));
        }
        Ok(waiting) => findings.push(warning(
            "mail",
            format!(
                "{} mails wait, the oldest for more than an hour: look at [identity.mail]",
                waiting.waiting
            ),
        )),
        Err(error) => findings.push(fault("mail", error.to_string())),
    }
}

const ROUTES: &str = "routes in force are the file's";
/// How many events a system outside may lag before it is warned of.
const SINK_BEHIND: i64 = 1_000;

const READABLE: &str = "events can be opened";

/// Whether a consumer had to go past events that it could not open.
async fn unreadable(house: &House) -> Result<Finding, spine::Error> {
    let kind = <spine::UnreadableEventsPassed as spine::Event>::SPEC.kind.to_owned();
    let filter = spine::EventFilter { kind: Some(kind), limit: 1, ..spine::EventFilter::default() };
    let told = house.spine.events(&filter).await?.pop();
    let Some(told) = told.and_then(|event| event.parse::<spine::UnreadableEventsPassed>()) else {
        return Ok(right(READABLE));
    };
    let mend = format!(
        "{} passed {} from leaf {} on: forged, or without their key. Run `stagedoor audit verify`; \
         is the keys' database older than the data's?",
        told.consumer, told.count, told.first_leaf
    );
    Ok(warning(READABLE, mend))
}

const WITNESSES: &str = "log is witnessed";

/// Whether others have cosigned what is shown, and not too long ago.
async fn look_at_witnesses(house: &House) -> anyhow::Result<Finding> {
    if house.config.witness.is_empty() {
        let mend = "nobody outside signs the log: add a [[witness]] (docs/audit-log.md), or keep \
                    `stagedoor audit checkpoint` elsewhere";
        return Ok(warning(WITNESSES, mend));
    }
    let Some(shown) = house.spine.published().await? else {
        return Ok(warning(WITNESSES, "nothing is published yet: `stagedoor serve`"));
    };
    let verified = match house.witness_policy().await?.verify(&shown) {
        Ok(verified) => verified,
        Err(error) => {
            let mend = format!("{error}: is each [[witness]] up, and does it know this log's key?");
            return Ok(warning(WITNESSES, mend));
        }
    };
    let newest = house.spine.checkpoint().await?.map_or(0, |head| head.claimed().size());
    let open = newest.saturating_sub(verified.checkpoint.size());
    let signed_s = verified.witnesses.iter().map(|(_, time_s)| *time_s).max().unwrap_or(0);
    let now_s = u64::try_from(house.clock.now().seconds()).unwrap_or(0);
    let patience_s = house.config.audit.publish_every_s.saturating_mul(3).max(3_600);
    if open > 0 && now_s.saturating_sub(signed_s) > patience_s {
        let mend = format!(
            "{open} leaves wait for witnesses, the last signature is {} minutes old: look for \
             `witness` in the program's log",
            now_s.saturating_sub(signed_s) / 60
        );
        return Ok(warning(WITNESSES, mend));
    }
    Ok(right(WITNESSES))
}

/// Whether a mail has waited for more than an hour.
fn is_old(house: &House, since_us: i64) -> bool {
    let since = kernel::Timestamp::from_micros(since_us);
    house.clock.now().since(since) > Duration::from_secs(3_600)
}
