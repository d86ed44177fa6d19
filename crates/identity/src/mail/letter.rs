//! The letters that this room writes: one text and one HTML template each, links to the shop's
//! public address only.

use askama::Template;
use kernel::Secret;
use web::Site;

use super::Mail;
use crate::email::Email;
use crate::error::Error;

/// A letter before it is written out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Letter<'a> {
    /// Verify this address.
    Verify { secret: &'a Secret<String> },
    /// You have an account already.
    KnownAddress,
    /// Choose a new password.
    Reset { secret: &'a Secret<String> },
    /// An operator opened an account for you: choose a password.
    Invitation { secret: &'a Secret<String> },
    /// Your password is another now.
    PasswordChanged,
    /// Your account has another second factor.
    FactorAdded,
    /// Your account has a second factor less.
    FactorRemoved,
    /// Your account has new backup codes.
    BackupCodesMade,
    /// Somebody signed in with a backup code.
    BackupCodeUsed,
    /// Your account is gone.
    Erased,
}

macro_rules! letters {
    ($($name:ident = $text:literal, $html:literal;)+) => {$(
        mod $name {
            //! One letter's two bodies.
            use askama::Template;

            #[derive(Template)]
            #[template(path = $text, escape = "none")]
            pub(super) struct Text<'a> {
                pub site: &'a str,
                pub link: &'a str,
            }

            #[derive(Template)]
            #[template(path = $html)]
            pub(super) struct Html<'a> {
                pub site: &'a str,
                pub link: &'a str,
            }
        }
    )+};
}

letters! {
    verify = "mail/verify.txt", "mail/verify.html";
    known_address = "mail/known_address.txt", "mail/known_address.html";
    reset = "mail/reset.txt", "mail/reset.html";
    invitation = "mail/invitation.txt", "mail/invitation.html";
    password_changed = "mail/password_changed.txt", "mail/password_changed.html";
    factor_added = "mail/factor_added.txt", "mail/factor_added.html";
    factor_removed = "mail/factor_removed.txt", "mail/factor_removed.html";
    backup_codes_made = "mail/backup_codes_made.txt", "mail/backup_codes_made.html";
    backup_code_used = "mail/backup_code_used.txt", "mail/backup_code_used.html";
    erased = "mail/erased.txt", "mail/erased.html";
}

impl Letter<'_> {
    /// The letter's name in the queue.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Verify { .. } => "verify",
            Self::KnownAddress => "known_address",
            Self::Reset { .. } => "reset",
            Self::Invitation { .. } => "invitation",
            Self::PasswordChanged => "password_changed",
            Self::FactorAdded => "factor_added",
            Self::FactorRemoved => "factor_removed",
            Self::BackupCodesMade => "backup_codes_made",
            Self::BackupCodeUsed => "backup_code_used",
            Self::Erased => "erased",
        }
    }

    /// Where its link leads: always to the shop's own public address.
    fn link(&self, site: &Site) -> String {
        let base = &site.public_url;
        match self {
            Self::Verify { secret } => format!("{base}/auth/verify?token={}", secret.expose()),
            Self::Reset { secret } | Self::Invitation { secret } => {
                format!("{base}/auth/reset?token={}", secret.expose())
            }
            Self::KnownAddress
            | Self::PasswordChanged
            | Self::FactorAdded
            | Self::FactorRemoved
            | Self::BackupCodesMade
            | Self::BackupCodeUsed => format!("{base}/auth/forgot"),
            Self::Erased => base.clone(),
        }
    }

    fn subject(&self, site: &str) -> String {
        match self {
            Self::Verify { .. } => format!("Confirm your e-mail address for {site}"),
            Self::KnownAddress => format!("You have an account at {site} already"),
            Self::Reset { .. } => format!("Choose a new password for {site}"),
            Self::Invitation { .. } => format!("Your account at {site}"),
            Self::PasswordChanged => format!("Your password for {site} was changed"),
            Self::FactorAdded => format!("A second factor was added to your account at {site}"),
            Self::FactorRemoved => {
                format!("A second factor was taken from your account at {site}")
            }
            Self::BackupCodesMade => format!("New backup codes for your account at {site}"),
            Self::BackupCodeUsed => format!("A backup code of your account at {site} was used"),
            Self::Erased => format!("Your account at {site} was deleted"),
        }
    }

    /// Writes it out.
    pub(crate) fn mail(&self, site: &Site, to: &Email) -> Result<Mail, Error> {
        let link = self.link(site);
        let (site, link) = (site.name.as_str(), link.as_str());
        let (text, html) = match self {
            Self::Verify { .. } => {
                (verify::Text { site, link }.render(), verify::Html { site, link }.render())
            }
            Self::KnownAddress => (
                known_address::Text { site, link }.render(),
                known_address::Html { site, link }.render(),
            ),
            Self::Reset { .. } => {
                (reset::Text { site, link }.render(), reset::Html { site, link }.render())
            }
            Self::Invitation { .. } => {
                (invitation::Text { site, link }.render(), invitation::Html { site, link }.render())
            }
            Self::PasswordChanged => (
                password_changed::Text { site, link }.render(),
                password_changed::Html { site, link }.render(),
            ),
            Self::FactorAdded => (
                factor_added::Text { site, link }.render(),
                factor_added::Html { site, link }.render(),
            ),
            Self::FactorRemoved => (
                factor_removed::Text { site, link }.render(),
                factor_removed::Html { site, link }.render(),
            ),
            Self::BackupCodesMade => (
                backup_codes_made::Text { site, link }.render(),
                backup_codes_made::Html { site, link }.render(),
            ),
            Self::BackupCodeUsed => (
                backup_code_used::Text { site, link }.render(),
                backup_code_used::Html { site, link }.render(),
            ),
            Self::Erased => {
                (erased::Text { site, link }.render(), erased::Html { site, link }.render())
            }
        };
        let broken = |_| Error::Broken("a mail template failed");
        Ok(Mail {
            to: to.as_str().to_owned(),
            subject: self.subject(site),
            text: text.map_err(broken)?,
            html: html.map_err(broken)?,
        })
    }
}
