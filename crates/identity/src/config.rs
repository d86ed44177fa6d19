//! What an operator may set for this room. Units are the last part of a key's name; changes
//! apply at restart. Defaults are safe for a shop in production.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::account::AccountKind;

/// `[identity]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// Kinds of account that a visitor may open without being asked further. Default customers.
    /// Staff never.
    pub sign_up_kinds: Vec<AccountKind>,
    /// Kinds that a visitor may apply to be: a customer until an operator approves it at the
    /// console. Default influencers and wholesalers. Staff never.
    pub apply_kinds: Vec<AccountKind>,
    /// What each kind of account must prove.
    pub policy: PolicyConfig,
    /// Passwords.
    pub password: PasswordConfig,
    /// Sessions.
    pub session: SessionConfig,
    /// Tokens for apps.
    pub token: TokenConfig,
    /// Attempt budgets.
    pub attempts: AttemptConfig,
    /// Links in mails.
    pub link: LinkConfig,
    /// Mail.
    pub mail: MailConfig,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            sign_up_kinds: vec![AccountKind::Customer],
            apply_kinds: vec![AccountKind::Influencer, AccountKind::Wholesaler],
            policy: PolicyConfig::default(),
            password: PasswordConfig::default(),
            session: SessionConfig::default(),
            token: TokenConfig::default(),
            attempts: AttemptConfig::default(),
            link: LinkConfig::default(),
            mail: MailConfig::default(),
        }
    }
}

/// `[identity.policy]`: a table for each kind of account.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// Customers.
    pub customer: KindPolicy,
    /// Influencers.
    pub influencer: KindPolicy,
    /// Wholesalers.
    pub wholesaler: KindPolicy,
    /// Staff.
    pub staff: KindPolicy,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        let never = KindPolicy { remember_device_s: 0, ..KindPolicy::default() };
        let month = KindPolicy::default();
        Self { customer: month, influencer: month, wholesaler: never, staff: never }
    }
}

impl PolicyConfig {
    /// The policy for this kind of account.
    #[must_use]
    pub const fn of(&self, kind: AccountKind) -> KindPolicy {
        match kind {
            AccountKind::Customer => self.customer,
            AccountKind::Influencer => self.influencer,
            AccountKind::Wholesaler => self.wholesaler,
            AccountKind::Staff => self.staff,
        }
    }
}

/// What one kind of account must prove.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KindPolicy {
    /// `optional`: who has a second factor proves it. `required`: who has none gets one at the next
    /// sign-in, before anything else. Default `optional`.
    pub second_factor: SecondFactor,
    /// How long a device in which a second factor was proved need not prove it again, where its owner
    /// wants that, s; 0: never. Default 30 days for customers and influencers, 0 for wholesalers and
    /// staff; 30 days where a kind's table is given without it.
    pub remember_device_s: u64,
}

impl Default for KindPolicy {
    fn default() -> Self {
        Self { second_factor: SecondFactor::Optional, remember_device_s: 30 * DAY_S }
    }
}

/// Whether a second factor is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecondFactor {
    /// Of the account's owner.
    #[default]
    Optional,
    /// It is none.
    Required,
}

impl SecondFactor {
    /// Whether nobody comes in without one.
    #[must_use]
    pub const fn is_required(self) -> bool {
        matches!(self, Self::Required)
    }
}

/// `[identity.password]`: argon2id (RFC 9106), at OWASP's floor by default.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordConfig {
    /// Memory of one hash, KiB. Default 19456 (19 MiB); below 7168 is refused.
    pub memory_kib: u32,
    /// Passes over the memory. Default 2.
    pub passes: u32,
    /// Hashes at work at one time; 0 means one for each core. Default 0.
    pub workers: u32,
    /// Sign-ins that may wait for a worker. Default 512.
    pub waiting_max: u32,
    /// The longest that one may wait, ms; who would wait longer is refused at once. Default 2000.
    pub wait_max_ms: u64,
    /// A file of `stagedoor breach build`: passwords that leaked, which nobody may choose. Default none.
    pub breached_file: Option<String>,
}

impl Default for PasswordConfig {
    fn default() -> Self {
        Self {
            memory_kib: 19_456,
            passes: 2,
            workers: 0,
            waiting_max: 512,
            wait_max_ms: 2_000,
            breached_file: None,
        }
    }
}

/// How long a sign-in lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Life {
    /// Without use, s.
    pub idle_s: u64,
    /// In all, s.
    pub absolute_s: u64,
}

impl Life {
    /// The idle span.
    #[must_use]
    pub const fn idle(self) -> Duration {
        Duration::from_secs(self.idle_s)
    }

    /// The whole span.
    #[must_use]
    pub const fn absolute(self) -> Duration {
        Duration::from_secs(self.absolute_s)
    }
}

const HOUR_S: u64 = 3_600;
const DAY_S: u64 = 24 * HOUR_S;

/// `[identity.session]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionConfig {
    /// Customers: 14 days idle, 90 days in all.
    pub customer: Life,
    /// Influencers: 7 days idle, 30 days in all.
    pub influencer: Life,
    /// Wholesalers: 12 hours idle, 7 days in all.
    pub wholesaler: Life,
    /// Staff: 30 minutes idle, 12 hours in all (NIST SP 800-63B, AAL2).
    pub staff: Life,
    /// Live sessions of one account; the oldest ends when another opens. Default 50.
    pub per_account_max: u32,
    /// How often the moment of last use is written, s. Default 60.
    pub touch_s: u64,
    /// How long after a proof of the password an operator may change facts at the console before it
    /// is asked for again, s. Default 600 (10 min).
    pub fresh_s: u64,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            customer: Life { idle_s: 14 * DAY_S, absolute_s: 90 * DAY_S },
            influencer: Life { idle_s: 7 * DAY_S, absolute_s: 30 * DAY_S },
            wholesaler: Life { idle_s: 12 * HOUR_S, absolute_s: 7 * DAY_S },
            staff: Life { idle_s: HOUR_S / 2, absolute_s: 12 * HOUR_S },
            per_account_max: 50,
            touch_s: 60,
            fresh_s: 600,
        }
    }
}

impl SessionConfig {
    /// The life of a sign-in of this kind of account.
    #[must_use]
    pub const fn life(&self, kind: AccountKind) -> Life {
        match kind {
            AccountKind::Customer => self.customer,
            AccountKind::Influencer => self.influencer,
            AccountKind::Wholesaler => self.wholesaler,
            AccountKind::Staff => self.staff,
        }
    }
}

/// `[identity.token]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenConfig {
    /// Life of a signed token, s; more than 300 counts as 300. Default 300.
    pub access_s: u64,
    /// How long the direct predecessor of a refresh token still gets the same successor, s.
    /// Default 10; more than 60 counts as 60.
    pub grace_s: u64,
    /// The audience of signed tokens. Default `shop`.
    pub audience: String,
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self { access_s: 300, grace_s: 10, audience: "shop".to_owned() }
    }
}

impl TokenConfig {
    /// The life of a signed token, at most 5 minutes.
    #[must_use]
    pub fn access(&self) -> Duration {
        Duration::from_secs(self.access_s.clamp(1, 300))
    }

    /// The grace window of rotation, at most a minute.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_s.min(60))
    }
}

/// A budget: so many tries at once, then one more after each span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Tries that may come at once.
    pub burst: u32,
    /// The span after which one more is granted, s.
    pub refill_s: u32,
}

/// `[identity.attempts]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AttemptConfig {
    /// Sign-ins to one account from all devices that it does not know: 100, then one each 90 s.
    pub account: Budget,
    /// Sign-ins to one account from one such client: 10, then one each 90 s.
    pub pair: Budget,
    /// Sign-ins from one device that the account knows: 10, then one each 90 s.
    pub device: Budget,
    /// Sign-ins of one client (an IPv4 address, an IPv6 /64), to whatever account: 30, then one
    /// each 6 s.
    pub client: Budget,
    /// Passwords asked for inside a live session: 5, then one each 300 s.
    pub session: Budget,
    /// Codes of one second factor of one account, however many sign-ins ask for it: 5, then one each
    /// 900 s. So a code of six digits is guessed within a day with a chance of 3 in 10,000.
    pub second: Budget,
    /// Mails to one address: 3, then one each 600 s.
    pub mail: Budget,
    /// Sign-ups and requests for mail of one client: 20, then one each 30 s.
    pub open: Budget,
}

impl Default for AttemptConfig {
    fn default() -> Self {
        Self {
            account: Budget { burst: 100, refill_s: 90 },
            pair: Budget { burst: 10, refill_s: 90 },
            device: Budget { burst: 10, refill_s: 90 },
            client: Budget { burst: 30, refill_s: 6 },
            session: Budget { burst: 5, refill_s: 300 },
            second: Budget { burst: 5, refill_s: 900 },
            mail: Budget { burst: 3, refill_s: 600 },
            open: Budget { burst: 20, refill_s: 30 },
        }
    }
}

/// `[identity.link]`: single-use links in mails.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinkConfig {
    /// Verification of an e-mail address, s. Default 86400 (24 h).
    pub verify_s: u64,
    /// Password reset, s. Default 1800 (30 min).
    pub reset_s: u64,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self { verify_s: DAY_S, reset_s: HOUR_S / 2 }
    }
}

/// `[identity.mail]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MailConfig {
    /// The sender, `Name <address>`. Default `Stagedoor <no-reply@localhost>`.
    pub from: String,
    /// Where mails go: `smtp` or `outbox` (kept in memory and shown at `/auth/dev/outbox`; never in
    /// production). Default `smtp`.
    pub to: MailRoad,
    /// The SMTP server's name. Default `localhost`.
    pub smtp_host: String,
    /// Its port. Default 587.
    #[schema(maximum = 65_535)]
    pub smtp_port: u16,
    /// `start_tls` (required, never optional), `tls` from the first byte, or `none` (a relay on
    /// this host). Default `start_tls`.
    pub smtp_security: SmtpSecurity,
    /// The user, where the server wants one. Default none.
    pub smtp_user: Option<String>,
    /// A file that holds the user's password. Default none.
    pub smtp_password_file: Option<String>,
    /// A file of certificates, PEM: the authority that the server's certificate must lead to, as
    /// for a server inside your network. Default: the authorities that browsers believe.
    pub smtp_ca_file: Option<String>,
    /// The longest that the server may take for one mail, ms. Default 60000; more than 100000
    /// counts as 100000.
    pub smtp_mail_max_ms: u64,
    /// Tries at one mail before it is given up. Default 8.
    pub tries_max: u32,
}

impl Default for MailConfig {
    fn default() -> Self {
        Self {
            from: "Stagedoor <no-reply@localhost>".to_owned(),
            to: MailRoad::Smtp,
            smtp_host: "localhost".to_owned(),
            smtp_port: 587,
            smtp_security: SmtpSecurity::StartTls,
            smtp_user: None,
            smtp_password_file: None,
            smtp_ca_file: None,
            smtp_mail_max_ms: 60_000,
            tries_max: 8,
        }
    }
}

impl MailConfig {
    /// The longest that one mail may take: shorter than the lease on it, so that no other node
    /// sends it meanwhile.
    #[must_use]
    pub fn smtp_mail_max(&self) -> Duration {
        Duration::from_millis(self.smtp_mail_max_ms.clamp(100, 100_000))
    }
}

/// Where mails go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailRoad {
    /// To a mail server.
    Smtp,
    /// To a page, for development and the demo.
    Outbox,
}

/// How the way to the mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SmtpSecurity {
    /// STARTTLS, refused where the server does not offer it (RFC 3207).
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// None: only for a relay on this host.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_whatever_is_set() {
        let token = TokenConfig { access_s: 86_400, grace_s: 600, audience: String::new() };
        assert_eq!(token.access(), Duration::from_secs(300));
        assert_eq!(token.grace(), Duration::from_secs(60));
    }

    #[test]
    fn unknown_keys_are_refused() {
        let read = serde_json::from_str::<IdentityConfig>(r#"{"sing_up_kinds": []}"#);
        assert!(read.unwrap_err().to_string().contains("sing_up_kinds"));
    }
}
