//! `init`: a configuration file with comments, the keys, the databases, the first operator.

mod separate;

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use identity::{AccountKind, OpenAccount, StaffRole};
use kernel::{Entropy as _, Secret, SystemClock, SystemEntropy};
use vault::{Vault, Where};

use crate::cli::Init;
use crate::config::load;
use crate::house::{House, Nature};
use crate::out;
use crate::rooms::rooms;

/// Makes everything; touches nothing that stands.
pub(crate) async fn run(file: &Path, init: Init) -> anyhow::Result<()> {
    if file.exists() {
        anyhow::bail!("{} stands already: nothing was changed", file.display());
    }
    let dir = file.parent().unwrap_or(Path::new("")).join(&init.dir);
    let users = init.separate.then(|| separate::Users::find(&dir)).transpose()?;
    let is_new = !dir.exists();
    // Its owner's only: sealed or not, the data is nobody else's on this host.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.with_context(|| format!("{} cannot be made", dir.display()))?;
    let text = render(&init);
    std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    let mut made = furnish(file, &init, &dir).await;
    if let (Ok(_), Some(users)) = (&made, &users)
        && let Err(error) = users.settle(file, &dir)
    {
        users.unsettle(&dir);
        made = Err(error.context("the processes' folders cannot be given to their users"));
    }
    if made.is_err() {
        // What this try made goes again, so that the next one is not refused.
        gone(file, std::fs::remove_file(file));
        if is_new {
            gone(&dir, std::fs::remove_dir_all(&dir));
        }
    }
    let Made { password, code } = made?;
    out::say(format!("Made {} and {}.", file.display(), dir.display()));
    out::say(format!("First operator: {} · password: {}", init.operator, password.expose()));
    out::say("It is shown once; change it at the console after the first sign-in.");
    if let Some(code) = &code {
        out::say(format!("Recovery code: {}", code.expose()));
        out::say("It is shown once: write it down. It opens the keys when the passphrase is lost.");
    }
    out::say("Next: `stagedoor doctor`, then `stagedoor serve`.");
    out::json(&serde_json::json!({
        "config": file, "dir": dir, "operator": init.operator, "password": password.expose(),
        "recovery_code": code.as_ref().map(|code| code.expose()),
    }));
    Ok(())
}

/// Says what could not be removed: why it had to be is the error that counts.
fn gone(path: &Path, removed: std::io::Result<()>) {
    if let Err(error) = removed {
        out::progress(format!("{} stays, and must be removed by hand: {error}", path.display()));
    }
}

/// What is shown once.
struct Made {
    password: Secret<String>,
    /// Where there is a passphrase that could be lost.
    code: Option<Secret<String>>,
}

async fn furnish(file: &Path, init: &Init, dir: &Path) -> anyhow::Result<Made> {
    write_private(&dir.join("header-shop.key"), random_text(43).expose().as_bytes())?;
    let loaded = load(file)?;
    loaded.make_places()?;
    let nature = Nature::default();
    let config = loaded.vault_config(&nature)?;
    let vault = Vault::init(config.clone()).await.context("the vault cannot be made")?;
    let code = match &config.keyholder {
        Where::Here(home) if init.passphrase_file.is_some() => {
            Some(vault::make_code(home, &SystemEntropy)?)
        }
        Where::Here(_) | Where::Socket { .. } => None,
    };
    let db = loaded.open_database().await?;
    store::migrate(&db, &rooms()?.migrations(), kernel::Clock::now(&SystemClock)).await?;
    let house = House::furnish(loaded, db, vault, nature).await?;
    let password = random_text(20);
    let ctx = house.operator_ctx();
    let wanted = house.config.edge_config();
    house.access.apply(&ctx, &wanted, None).await?;
    let operator = OpenAccount {
        kind: AccountKind::Staff,
        email: init.operator.clone(),
        name: "First operator".to_owned(),
        roles: vec![StaffRole::Admin],
        password: Some(password.clone()),
    };
    house.identity.open_account(&ctx, operator).await?;
    house.close().await?;
    Ok(Made { password, code })
}

/// `length` letters and digits that nobody can foretell (5 bits each).
pub(crate) fn random_text(length: usize) -> Secret<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = vec![0; length];
    SystemEntropy.fill(&mut bytes);
    let letters = bytes.iter().map(|byte| LETTERS.get(usize::from(byte & 31)).copied());
    Secret::new(letters.map(|letter| char::from(letter.unwrap_or(b'x'))).collect())
}

/// Writes a new file that only its owner can read.
pub(crate) fn write_private(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    let mut opened = opened.with_context(|| format!("{} cannot be made", file.display()))?;
    opened.write_all(bytes)?;
    Ok(opened.sync_all()?)
}

/// The commented file.
fn render(init: &Init) -> String {
    let quoted = |text: &str| serde_json::Value::String(text.to_owned()).to_string();
    let root = match (&init.keyholder, &init.passphrase_file) {
        (Some(socket), _) => format!(
            "# said in the keyholder's own file\n\n[keyholder]\nsocket = {}",
            quoted(&socket.display().to_string())
        ),
        (None, Some(file)) => format!(
            "kind = \"passphrase\"\npassphrase_file = {}",
            quoted(&file.display().to_string())
        ),
        (None, None) => "# in the clear, for trying; for a live shop: kind = \"passphrase\"\n\
                 kind = \"key_file\""
            .to_owned(),
    };
    let database = match &init.database {
        Some(url) => format!("database_url = {}", quoted(url)),
        None => "# for more than one machine:\n\
                 # database_url = \"postgres://stagedoor@db.internal/stagedoor\""
            .to_owned(),
    };
    let database = match &init.keys_database {
        Some(url) => format!("{database}\nkeys_database_url = {}", quoted(url)),
        None => database,
    };
    let dir = init.dir.display().to_string();
    include_str!("../../assets/stagedoor.toml")
        .replace("{name}", &quoted(&init.name))
        .replace("{url}", &quoted(init.url.trim_end_matches('/')))
        .replace("{upstream}", &quoted(&init.upstream))
        .replace("{root}", &root)
        .replace("{database}", &database)
        .replace("{dir}", &quoted(&dir))
        .replace("{header_key}", &quoted(&format!("{dir}/header-shop.key")))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    /// What is not commented out `init` reads itself.
    #[test]
    fn each_key_in_the_comments_exists() {
        let (mut section, mut seen) = ("", 0);
        for line in include_str!("../../assets/stagedoor.toml").lines() {
            let setting = line.trim_start_matches("# ");
            if setting.starts_with('[') {
                section = setting;
            }
            let key = setting.split_once(" = ").map_or(" ", |(key, _)| key);
            if !line.starts_with('#') || key.contains(' ') {
                continue;
            }
            seen += 1;
            if let Err(error) = toml::from_str::<Config>(&format!("{section}\n{setting}")) {
                assert!(error.message().contains("missing field"), "{section} {error}");
            }
        }
        assert!(seen >= 8, "{seen} keys");
    }
}
