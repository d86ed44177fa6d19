//! `user`: accounts, as an operator on this host.

use anyhow::Context as _;
use identity::{
    AccountKind, AccountView, EndReason, Factors, ListAccounts, LockAccount, OpenAccount, StaffRole,
};
use kernel::AccountId;

use crate::cli::{Kind, UserCommand};
use crate::config::read_secret;
use crate::house::House;
use crate::out;

impl From<Kind> for AccountKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Customer => Self::Customer,
            Kind::Influencer => Self::Influencer,
            Kind::Wholesaler => Self::Wholesaler,
            Kind::Staff => Self::Staff,
        }
    }
}

/// Runs a `user` command.
pub(crate) async fn run(house: &House, command: UserCommand) -> anyhow::Result<()> {
    let ctx = house.operator_ctx();
    let identity = &house.identity;
    match command {
        UserCommand::Add { email, name, kind, role, password_file } => {
            let roles = role.iter().map(|role| StaffRole::parse(role)).collect::<Option<Vec<_>>>();
            let password = password_file.map(|file| read_secret(&file)).transpose()?;
            let opened = OpenAccount {
                kind: kind.into(),
                name: if name.is_empty() { email.clone() } else { name },
                email,
                roles: roles.context("a role is admin, support, auditor, moderator or finance")?,
                password,
            };
            let id = identity.open_account(&ctx, opened).await?;
            out::say(format!("Opened {id}."));
            out::json(&serde_json::json!({ "id": id }));
        }
        UserCommand::List { kind, after } => {
            let after = after.map(|id| id.parse()).transpose()?;
            let list = ListAccounts { kind: kind.map(Into::into), after, rows: 100 };
            show_all(&identity.list_accounts(list).await?);
        }
        UserCommand::Show { who } => show(house, find(house, &who).await?).await?,
        UserCommand::Lock { who, reason } => {
            let account = find(house, &who).await?;
            identity.lock_account(&ctx, LockAccount { account, reason }).await?;
            out::say(format!("{account} is locked, its sessions are over."));
        }
        UserCommand::Unlock { who } => {
            let account = find(house, &who).await?;
            identity.unlock_account(&ctx, account).await?;
            out::say(format!("{account} is unlocked."));
        }
        UserCommand::EndSessions { who } => {
            let account = find(house, &who).await?;
            let ended = identity.end_sessions(&ctx, account, None, EndReason::Operator).await?;
            out::say(format!("{ended} sessions of {account} are over."));
        }
        UserCommand::ResetFactors { who, reason } => {
            let account = find(house, &who).await?;
            identity.reset_factors(&ctx, account, &reason).await?;
            out::say(format!("{account} has no second factor any more, its sessions are over."));
        }
        UserCommand::Erase { who, yes } => {
            let account = find(house, &who).await?;
            anyhow::ensure!(yes, "erasing {account} cannot be undone: say --yes");
            identity.erase(&ctx, account).await?;
            out::say(format!("{account} is erased: the key is destroyed, the log still verifies."));
        }
    }
    house.close().await
}

/// The account by its address or id.
async fn find(house: &House, who: &str) -> anyhow::Result<AccountId> {
    if let Ok(id) = who.parse() {
        return Ok(id);
    }
    let found = house.identity.find_account(who).await?;
    Ok(found.with_context(|| format!("there is no account {who}"))?.id)
}

fn row(account: &AccountView) -> Vec<String> {
    vec![
        account.id.to_string(),
        account.kind.as_str().to_owned(),
        account.state.as_str().to_owned(),
        account.email.clone().unwrap_or_default(),
        account.name.clone().unwrap_or_default(),
    ]
}

fn show_all(accounts: &[AccountView]) {
    let rows: Vec<Vec<String>> = accounts.iter().map(row).collect();
    out::json(&serde_json::json!({ "accounts": rows }));
    out::table(&["id", "kind", "state", "e-mail", "name"], &rows);
}

async fn show(house: &House, id: AccountId) -> anyhow::Result<()> {
    let account = house.identity.account(id).await?;
    let sessions = house.identity.sessions(&house.operator_ctx(), id, None).await?;
    show_all(std::slice::from_ref(&account));
    let rows: Vec<Vec<String>> = sessions
        .iter()
        .map(|session| {
            vec![
                session.id.to_string(),
                session.created_at.to_string(),
                session.address.clone().unwrap_or_default(),
                session.agent.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let Factors { factors, backup_codes_left } = house.identity.factors(id).await?;
    let own: Vec<Vec<String>> = factors
        .iter()
        .map(|factor| {
            let used = factor.used_at.map(|at| at.to_string()).unwrap_or_default();
            vec![factor.name.clone(), factor.method.to_string(), factor.added_at.to_string(), used]
        })
        .collect();
    out::say("");
    out::table(&["second factor", "method", "since", "used"], &own);
    if !own.is_empty() {
        out::say(format!("{backup_codes_left} backup codes left."));
    }
    out::say("");
    out::table(&["session", "since", "address", "agent"], &rows);
    Ok(())
}
