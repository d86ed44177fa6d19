//! Who people are: accounts, passwords, second factors, sessions, tokens, and the end of each.
//!
//! The model room: every other room has this shape. Nouns: an *account* of a kind (customer,
//! influencer, wholesaler, staff); its *password*; its *factors*, each of a *method*; a sign-in that
//! is *half-way*; a *session*, one sign-in on one device; a
//! *family* of refresh tokens, a session's for an app; a *ticket*, a mailed link; a *letter*; an
//! *application*, to be another kind of account; a *device*, a browser that an account knows.
//!
//! **Way in.** [`Identity::open`] gives the room; its verbs are methods `(&ctx, command)`.
//! [`routes`] are its pages and its API, [`SessionCallers`] says who a request comes from,
//! `Identity` is the edge's [`web::feed::Minter`], [`Responses`] obeys what is asked of it,
//! [`Identity::serve_mail`] and [`Identity::sweep`] are the program's to run.
//!
//! **Promises.**
//! - **I1** nobody learns from an answer, or from the hashes that it costs, whether an address has
//!   an account; only the mailbox's owner does;
//! - **I2** an account that a visitor opened has no password until its mailbox's owner chose one
//!   behind the link; whoever typed the address knows nothing that opens it;
//! - **I3** a password is stored as argon2id with a pepper, sealed under its owner's key; at most
//!   as many hashes run as there are cores, and who would wait longer than two seconds is refused
//!   at once;
//! - **I4** guesses are slowed down by budgets that survive restarts; none keeps a person out of a
//!   session that lives, and what strangers guess does not keep an owner out of a browser that the
//!   account knows;
//! - **I5** a mailed link works once, for its purpose, for its time;
//! - **I6** of all who show one refresh token at once, one rotates it and the others get the same
//!   successor for ten seconds; a token that comes back later ends its own family and no other;
//! - **I7** a session that ended is refused: at once by every check here, and by the edge as soon
//!   as the committing node has published it; a sign-in that was half-way when all sessions ended
//!   is over;
//! - **I8** a password that became another ends every session, and one that was proved again ends
//!   the session it was proved in: whoever did so goes on in a successor, and nothing that was
//!   stolen of the old one is worth anything;
//! - **I9** an erased person is found by nothing that remains, and the log still verifies;
//! - **I10** every verb that changes a fact leaves an event in the same transaction;
//! - **I11** nobody becomes what sells by saying so: an application is decided by an operator;
//! - **I12** a house that has an administrator keeps one, whoever demotes whom at one moment;
//! - **I13** every sign-in becomes a session in one place, the gate, which no door leads past: where
//!   an account has a second factor it is proved, whatever was proved first, and two proofs of one
//!   sort are one;
//! - **I14** a code counts once, whoever shows it where at one moment; guesses at one method of an
//!   account share one budget, whatever the number of sign-ins and addresses, and a spent one keeps
//!   the owner neither from the other methods nor from a device that the account knows;
//! - **I15** with a factor that comes or goes every session ends that did not prove it;
//! - **I16** a trusted device stands in for a second factor, never for the password, and not for the
//!   assurance of one; what was copied of it is good at most until either of the two signs in again, and
//!   whatever ends the account's sessions ends its trust.
//!
//! **Tables** ([`TABLES`]): `identity_account`, `identity_password`, `identity_ticket`,
//! `identity_session`, `identity_session_use`, `identity_refresh`, `identity_revocation`,
//! `identity_attempt`, `identity_mail`, `identity_application`, `identity_turn`, `identity_factor`,
//! `identity_backup_code`, `identity_pending`, `identity_trusted_device`. **Events**: [`EVENTS`].
//!
//! **Threats.** Guessing and stuffing of passwords, floods that exhaust memory; somebody who signs
//! up with another's address; stolen cookies, refresh tokens, links, databases; two tabs and lost
//! answers; an operator's mistake. *Not* covered here: somebody who reads the mailbox of a person
//! without a second factor, a browser that is not its owner's any more, a page that looks like ours
//! and passes on at once what is typed there.

mod account;
mod application;
mod attempt;
mod backup_code;
mod config;
mod cookies;
mod device;
mod email;
mod ending;
mod error;
mod events;
mod factor;
mod gate;
mod http;
mod mail;
mod operator;
mod password;
mod recovery;
mod refresh;
mod response;
mod restored;
mod room;
mod sealed;
mod session;
mod sign_in;
mod sign_up;
mod sweep;
mod tables;
mod ticket;
mod totp;
mod trust;

pub use account::{
    AccountKind, AccountState, AccountView, DisplayName, EraseAccount, Rename, StaffRole,
};
pub use application::{ApplicationState, ApplicationView, Decide};
pub use backup_code::NewBackupCodes;
pub use config::{
    AttemptConfig, Budget, IdentityConfig, KindPolicy, Life, LinkConfig, MailConfig, MailRoad,
    PasswordConfig, PolicyConfig, SecondFactor, SessionConfig, SmtpSecurity, TokenConfig,
};
pub use cookies::{device_cookie, pending_cookie, sign_in_cookies};
pub use email::Email;
pub use error::Error;
pub use events::*;
pub use factor::{Code, FactorId, FactorView, Factors, RemoveFactor};
pub use gate::http::half_way;
pub use gate::{Admission, Choices, Method, Methods, Pending, ProveFirst, ProveSecond, StepUp};
pub use http::{operator_routes, routes, second_factor_pages};
pub use mail::{
    Delivered, Kept, Mail, MailError, MailId, Mailer, Outbox, SmtpFiles, SmtpMailer, Waiting,
};
pub use operator::{ListAccounts, LockAccount, OpenAccount};
pub use password::{
    Breached, BreachedError, Built, ChangePassword, ConfirmPassword, Hasher, ListForm,
    PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, build_breached,
};
pub use recovery::{ForgotPassword, ResetPassword};
pub use refresh::AppTokens;
pub use restored::{Ended, Standing};
pub use room::{Identity, Parts};
pub use session::{
    Claims, Client, EndReason, LiveSession, Opened, Renewed, SESSION_COOKIE, SessionCallers,
    SessionView, TOKEN_COOKIE,
};
pub use sign_in::{SignIn, SignInFailure};
pub use sign_up::{SignUp, VerifyEmail};
pub use sweep::Swept as SweptRows;
pub use totp::{ConfirmTotp, TotpKey};
pub use trust::{Trust, TrustEnd, TrustId, TrustView};

/// What the room brings into the house.
pub const ROOM: spine::Room = spine::Room {
    name: "identity",
    number: 2,
    tables: tables::TABLES,
    events: EVENTS,
    migrations: &[
        spine::Migration {
            version: 20_001,
            name: "identity/0001_identity",
            text: include_str!("../migrations/0001_identity.sql"),
        },
        spine::Migration {
            version: 20_002,
            name: "identity/0002_turns_and_applications",
            text: include_str!("../migrations/0002_turns_and_applications.sql"),
        },
        spine::Migration {
            version: 20_003,
            name: "identity/0003_second_factors",
            text: include_str!("../migrations/0003_second_factors.sql"),
        },
    ],
    statements: &[
        account::store::STATEMENTS,
        application::STATEMENTS,
        attempt::STATEMENTS,
        backup_code::store::STATEMENTS,
        ending::STATEMENTS,
        factor::store::STATEMENTS,
        gate::store::STATEMENTS,
        mail::STATEMENTS,
        password::store::STATEMENTS,
        refresh::store::STATEMENTS,
        restored::STATEMENTS,
        session::store::STATEMENTS,
        ticket::STATEMENTS,
        trust::store::STATEMENTS,
    ],
    consumers: &[<Identity as spine::Obeys>::NAME],
    obeys: <Identity as spine::Obeys>::ACTIONS,
};
