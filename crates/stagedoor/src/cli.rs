//! The command line: what can be asked of the program, with its help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Stagedoor: the security of a live shop in one program.
///
/// A door in front of the shop (TLS, sessions, limits), accounts behind it, and a log that a
/// stranger can verify. `stagedoor demo` shows all of it at work.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    /// The configuration file.
    #[arg(long, short, global = true, default_value = "stagedoor.toml")]
    pub config: PathBuf,
    /// Answers in JSON, one document on standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress on standard error.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows everything at work: a throw-away house with a small live-shopping shop behind it.
    Demo(Demo),
    /// Makes a configuration file, the keys, the databases and the first operator.
    Init(Init),
    /// Opens the door: serves until it is told to stop (Ctrl-C, SIGTERM).
    Serve(Serve),
    /// Brings the database to this program's schema.
    Migrate {
        /// Only says what would be done.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        owners: Owners,
    },
    /// The databases: who may what in them, and moving everything into another one.
    #[command(subcommand, visible_alias = "db")]
    Database(DatabaseCommand),
    /// Takes a backup while the program serves; `backup verify` checks one.
    Backup(Backup),
    /// Restores a backup into an empty installation; `restore drill` tries whether it could be.
    Restore(Restore),
    /// Checks, explains and applies the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Says what is wrong here, and how to mend it.
    Doctor {
        /// Only what is inside the house.
        #[arg(long, hide = true)]
        inside: bool,
    },
    /// Proves, checks and exports the log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The vault's keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// The keyholder as a process of its own, which alone has root and epoch keys.
    #[command(subcommand)]
    Keyholder(KeyholderCommand),
    /// Accounts.
    #[command(subcommand)]
    User(UserCommand),
    /// Passwords that leaked, which nobody may choose.
    #[command(subcommand)]
    Breach(BreachCommand),
    /// Keys of the shop's own services, for the API.
    #[command(subcommand)]
    Service(ServiceCommand),
    /// The nodes that serve on this database.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Systems outside that hear of every event.
    #[command(subcommand)]
    Siem(SiemCommand),
    /// A witness for another's log: cosigns only checkpoints that continue the last (C2SP
    /// tlog-witness). Run it on a machine that does not run the log.
    #[command(subcommand)]
    Witness(WitnessCommand),
    /// One process of `serve`, started by it.
    #[command(hide = true)]
    Process {
        /// Which.
        kind: crate::processes::Kind,
    },
    /// Documents that are made from the program: the event catalogue, the API.
    #[command(subcommand)]
    Docs(DocsCommand),
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Tells it as a story that ends by itself, through the public API only; exit code 0 only where
    /// every step held.
    #[arg(long)]
    pub script: bool,
    /// Where the shop's door listens.
    #[arg(long, default_value = "127.0.0.1:8443")]
    pub listen: std::net::SocketAddr,
    /// Where the console listens.
    #[arg(long, default_value = "127.0.0.1:8444")]
    pub console: std::net::SocketAddr,
    /// A PostgreSQL database to use instead of SQLite; it must be empty.
    #[arg(long)]
    pub database: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The shop's name.
    #[arg(long)]
    pub name: String,
    /// Where customers reach the shop, as in https://shop.example.
    #[arg(long)]
    pub url: String,
    /// Where the shop's own program listens, as in http://127.0.0.1:3000.
    #[arg(long)]
    pub upstream: String,
    /// The first operator's e-mail address.
    #[arg(long)]
    pub operator: String,
    /// A file with the passphrase that seals the root key (at least 12 characters). Without it the
    /// root key stands in a file of mode 0600: good for trying, not for a live shop.
    #[arg(long, conflicts_with = "keyholder")]
    pub passphrase_file: Option<PathBuf>,
    /// The socket of a running `stagedoor keyholder serve`, which has the root key instead.
    #[arg(long)]
    pub keyholder: Option<PathBuf>,
    /// The folder for data and keys.
    #[arg(long, default_value = "var")]
    pub dir: PathBuf,
    /// A PostgreSQL database for the facts, as in postgres://stagedoor@db.internal/stagedoor; it
    /// must be empty. Without it they stand in SQLite, in the folder.
    #[arg(long)]
    pub database: Option<String>,
    /// Another PostgreSQL database for the wrapped keys. Without it they stand in SQLite.
    #[arg(long)]
    pub keys_database: Option<String>,
    /// Prepares separate processes, as root: gives data, keys and configuration to the users
    /// stagedoor-core, stagedoor-keys and stagedoor-edge, which must exist (the Debian package makes
    /// them).
    #[arg(long, conflicts_with = "keyholder")]
    pub separate: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Brings the database to this program's schema first.
    #[arg(long)]
    pub migrate: bool,
}

/// Who owns the tables, where the program itself may not change them.
#[derive(Debug, Default, Args)]
pub(crate) struct Owners {
    /// The data's database as its owner, instead of data.database_url. A password is better kept in
    /// PGPASSFILE than in here.
    #[arg(long)]
    pub owner: Option<String>,
    /// The keys' database as its owner, instead of data.keys_database_url.
    #[arg(long)]
    pub keys_owner: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DatabaseCommand {
    /// Prints what each process may do in PostgreSQL, made from the program's own statements; or
    /// applies it, as the owner. Run it again after each `migrate`.
    Grants {
        /// Applies them.
        #[arg(long)]
        apply: bool,
        #[command(flatten)]
        roles: GrantRoles,
        #[command(flatten)]
        owners: Owners,
    },
    /// Copies everything into an empty database, checks both sides, and holds the old one. Stop
    /// every node first.
    Move {
        /// The empty database: postgres://user@host/name, or sqlite:///path/file.db.
        #[arg(long)]
        to: String,
        /// Moves the keys too, into this empty database: never the same as the data's.
        #[arg(long)]
        keys_to: Option<String>,
        /// Only says what would be moved.
        #[arg(long)]
        dry_run: bool,
    },
    /// Takes a move back: the database of the configuration may be served again.
    Stay,
}

/// The roles, which must exist.
#[derive(Debug, Args)]
pub(crate) struct GrantRoles {
    /// The role that core connects as.
    #[arg(long, default_value = "stagedoor_core")]
    pub core: String,
    /// A role of the edge's, which then may nothing at all.
    #[arg(long)]
    pub edge: Option<String>,
    /// A role of the keyholder's, which then may nothing at all.
    #[arg(long)]
    pub keyholder: Option<String>,
    /// A role that reads the data, and no keys.
    #[arg(long)]
    pub auditor: Option<String>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Backup {
    /// The file to write, or a folder: then it gets a name with the time.
    pub to: Option<PathBuf>,
    /// Backs the keys up too, into this file: in another place, and never kept longer than an epoch.
    #[arg(long)]
    pub keys: Option<PathBuf>,
    /// Only says how large it would be.
    #[arg(long)]
    pub dry_run: bool,
    /// The file with the passphrase of backups. Default: backup.passphrase_file.
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<BackupCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Reads a backup to its end and holds every table against what it says of itself.
    Verify {
        /// The file.
        file: PathBuf,
        /// It is a backup of keys.
        #[arg(long)]
        keys: bool,
        /// The file with the passphrase of backups. Default: backup.passphrase_file.
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Restore {
    /// The backup of the data.
    pub backup: Option<PathBuf>,
    /// Only reads the backup and looks whether it could be restored here.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub restoring: Restoring,
    #[command(subcommand)]
    pub command: Option<RestoreCommand>,
}

#[derive(Debug, Args)]
pub(crate) struct Restoring {
    /// The backup of the keys, where the keys are lost too. Without it those that are here are used.
    #[arg(long)]
    pub keys: Option<PathBuf>,
    /// A list of erased persons (backup.erased_file of the installation that was): they are erased
    /// again. May be given several times.
    #[arg(long)]
    pub erased: Vec<PathBuf>,
    /// Nobody was erased after the keys were backed up.
    #[arg(long)]
    pub none_erased: bool,
    /// The file with the passphrase of backups. Default: backup.passphrase_file.
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RestoreCommand {
    /// Restores in a throw-away place, looks at it, opens its door, asks, and deletes it all.
    Drill {
        /// The backup of the data.
        backup: PathBuf,
        /// How many accounts are opened.
        #[arg(long, default_value_t = 20)]
        samples: usize,
        /// The place that root has prepared, beside a keyholder.
        #[arg(long, hide = true)]
        inside: Option<PathBuf>,
        #[command(flatten)]
        restoring: Restoring,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Reads the file and says everything that is wrong with it.
    Check,
    /// The JSON Schema of the file.
    Schema,
    /// What applying the file's routes, limits and upstreams would change.
    Plan,
    /// Puts the file's routes, limits and upstreams in force, on every running node.
    Apply {
        /// Refuses where something else was applied since this revision was planned on.
        #[arg(long)]
        base: Option<i64>,
    },
    /// Earlier revisions, newest first.
    History,
    /// Puts an earlier revision in force again.
    RollBack {
        /// The revision.
        revision: i64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Checks the whole log and every row that it attests; or, with --proof or --export, checks
    /// offline what was given out before.
    Verify(Verify),
    /// Writes the proof of one event: the entry, and a tlog-proof to check it with.
    Prove {
        /// The event, evt_….
        event: String,
        /// The folder to write into.
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
    /// Writes the log as a static tree that any C2SP tlog-tiles client reads.
    Export {
        /// The folder, empty or of an earlier export.
        dir: PathBuf,
    },
    /// After a restore from a backup: goes on under a new name that tells of the old one.
    Reopen {
        /// Why: who restored what.
        #[arg(long)]
        reason: String,
    },
    /// The latest signed checkpoint: keep it where nobody here can change it.
    Checkpoint,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A checkpoint that was kept outside; may be given several times.
    #[arg(long)]
    pub checkpoint: Vec<PathBuf>,
    /// A tlog-proof file, checked offline; needs --entry and --key.
    #[arg(long, requires = "entry", requires = "key")]
    pub proof: Option<PathBuf>,
    /// The entry that the proof is of.
    #[arg(long)]
    pub entry: Option<PathBuf>,
    /// A folder that `audit export` wrote, checked offline; needs --key.
    #[arg(long, requires = "key", conflicts_with = "proof")]
    pub export: Option<PathBuf>,
    /// The log's public key (vkey), as `audit checkpoint` shows it; several after it was changed.
    #[arg(long)]
    pub key: Vec<String>,
    /// The public key of a witness that must have cosigned every checkpoint; may be given several
    /// times. On the live log, those of the configuration file are known without.
    #[arg(long)]
    pub witness: Vec<String>,
    /// How many of the witnesses must have. Default: all of them.
    #[arg(long)]
    pub quorum: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Lists the keys: what for, how old, how often used.
    List,
    /// Makes a new version of a key; what the old one sealed still opens.
    Rotate {
        /// What for, as `key list` names it; `epoch` wraps every person's key anew and destroys the
        /// old epoch, so that no older backup can revive who was erased.
        purpose: String,
    },
    /// The recovery code: opens the root key when its passphrase is lost.
    #[command(subcommand)]
    Recovery(RecoveryCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecoveryCommand {
    /// Makes a code and shows it once: write it down. An older code is worthless from then on.
    New,
    /// Seals the root key anew, under the passphrase that root.passphrase_file holds now.
    Use {
        /// A file with the code.
        #[arg(long)]
        code_file: PathBuf,
    },
    /// Tells the log of either, as core's user.
    #[command(hide = true)]
    Told {
        /// It was used, not made.
        #[arg(long)]
        used: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyholderCommand {
    /// Makes the root key and the keyholder's folder. What stands is left as it is.
    Init,
    /// Answers at keyholder.socket until it is told to stop (Ctrl-C, SIGTERM).
    Serve,
    /// Puts the files of a backup of keys in their places, before `restore --keys` fills the database:
    /// where `serve` starts the keyholder, `restore` as root does this itself.
    Restore {
        /// The backup of the keys.
        keys: PathBuf,
        /// The file with the passphrase of backups. Default: backup.passphrase_file.
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    Customer,
    Influencer,
    Wholesaler,
    Staff,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Opens an account; without --password-file a link to choose the password is mailed.
    Add {
        /// The address.
        email: String,
        /// The name.
        #[arg(long, default_value = "")]
        name: String,
        /// The kind.
        #[arg(long, value_enum, default_value = "customer")]
        kind: Kind,
        /// Staff roles: admin, support, auditor, moderator, finance.
        #[arg(long)]
        role: Vec<String>,
        /// A file that holds the password.
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// Lists accounts in the order of their opening.
    List {
        /// Only this kind.
        #[arg(long, value_enum)]
        kind: Option<Kind>,
        /// After this account: the next page.
        #[arg(long)]
        after: Option<String>,
    },
    /// Shows an account, its second factors and its sessions.
    Show {
        /// The address or id.
        who: String,
    },
    /// Locks an account and ends its sessions.
    Lock {
        /// The address or id.
        who: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Unlocks an account.
    Unlock {
        /// The address or id.
        who: String,
    },
    /// Ends all sessions of an account.
    EndSessions {
        /// The address or id.
        who: String,
    },
    /// Takes the second factors of an account away, for an owner who has lost them all; its sessions end.
    ResetFactors {
        /// The address or id.
        who: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Erases a person: the key is destroyed, the log still verifies. Cannot be undone.
    Erase {
        /// The address or id.
        who: String,
        /// Really.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BreachCommand {
    /// Makes the file for `identity.password.breached_file` from lists of passwords.
    Build {
        /// Lists with a password a line.
        #[arg(long = "list", value_name = "LIST")]
        lists: Vec<PathBuf>,
        /// Lists with `SHA1:count` a line, as Have I Been Pwned gives them out. One alone, in the order of
        /// its hashes, may have any length; several are held in memory.
        #[arg(long = "hashes", value_name = "LIST")]
        hashes: Vec<PathBuf>,
        /// The file to make.
        file: PathBuf,
    },
    /// Checks a file, and says how many passwords are in it.
    Check {
        /// The file.
        file: PathBuf,
        /// A file with a password, to ask whether it could be chosen.
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Makes a key for a service of the shop; it is shown once.
    Add {
        /// The service's name.
        name: String,
        /// What it may do: facts.
        #[arg(long, default_value = "facts")]
        scope: Vec<String>,
    },
    /// Lists the services.
    List,
    /// Revokes a service's key, at once.
    Revoke {
        /// The key's id, key_….
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Lists them: who serves, who sequences the log, how they hear each other, what waits.
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SiemCommand {
    /// Lists the sinks, and how far each has heard.
    List,
    /// Puts a sink on a leaf: it hears of all events from there on, again where it has heard of them.
    Replay {
        /// The sink, as `[[siem]]` names it.
        name: String,
        /// The leaf.
        #[arg(long)]
        from: i64,
        /// Only says what would be done.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WitnessCommand {
    /// Makes a witness's folder and key, and shows its public key.
    Init {
        /// The witness's name, as in witness.example/shop: whoever trusts it names it so.
        #[arg(long)]
        name: String,
        /// The folder; without it the witness is lost, and a new one needs a new key.
        #[arg(long, default_value = "witness")]
        dir: PathBuf,
    },
    /// Watches a log from now on, or one more key of a log; a running witness need not restart.
    AddLog {
        /// The log's public key (vkey), as `audit checkpoint` shows it there.
        key: String,
        /// The folder.
        #[arg(long, default_value = "witness")]
        dir: PathBuf,
    },
    /// Lists the logs, and what was cosigned last of each.
    List {
        /// The folder.
        #[arg(long, default_value = "witness")]
        dir: PathBuf,
    },
    /// Serves until it is told to stop (Ctrl-C, SIGTERM).
    Serve {
        /// The folder.
        #[arg(long, default_value = "witness")]
        dir: PathBuf,
        /// Where it listens.
        #[arg(long, default_value = "127.0.0.1:8446")]
        listen: std::net::SocketAddr,
        /// Its certificate chain, PEM; without one it speaks plain HTTP. What passes is public, and
        /// believed for its signatures only.
        #[arg(long, requires = "key_file")]
        cert_file: Option<PathBuf>,
        /// Its certificate's key, PEM.
        #[arg(long, requires = "cert_file")]
        key_file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DocsCommand {
    /// Every kind of event: fields, retention, what is personal, OCSF class (Markdown).
    Events,
    /// The API (OpenAPI 3.1, JSON).
    Openapi,
    /// Every key of the configuration file with its default.
    Config,
    /// Every metric: labels, and what it says (Markdown).
    Metrics,
}

/// Reads the command line; ends the program with help where it is wrong.
pub(crate) fn parse() -> Cli {
    Cli::parse()
}
