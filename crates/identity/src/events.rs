//! What this room tells the log. Plain fields are counts and words; whoever it is about stands in
//! the sealed part, under that person's key, or under the day's key where nobody is known yet.

use kernel::SessionId;

use crate::account::AccountKind;
use crate::gate::Method;
use crate::session::{Client, EndReason};
use crate::sign_in::SignInFailure;
use crate::trust::TrustEnd;

spine::words! {
    /// By which way a password came to be another.
    pub PasswordChange {
        /// By its owner, inside a session, with the old one.
        Changed = "changed",
        /// By a link in a mail.
        Reset = "reset",
    }
}

spine::words! {
    /// What this room did when it was asked for a response.
    pub Obeyed {
        /// Sessions ended.
        EndedSessions = "ended_sessions",
        /// One sign-in ended.
        EndedFamily = "ended_family",
        /// The password is asked for again.
        SteppedUp = "stepped_up",
        /// The account or sign-in was gone already.
        Nothing = "nothing",
    }
}

spine::events! {
    room = "identity";
    /// A visitor opened an account; its e-mail address is not verified yet.
    SignedUp = "signed_up" {
        plain { kind: AccountKind } sealed { email: String } retain_days = 2555, ocsf = 3001
    }
    /// A visitor signed up with an address that has an account; its owner was told by mail.
    SignUpRepeated = "sign_up_repeated" {
        plain { verified: bool } sealed { } retain_days = 365, ocsf = 3001
    }
    /// An operator opened an account.
    AccountOpened = "account_opened" {
        plain { kind: AccountKind, roles: String } sealed { email: String }
        retain_days = 2555, ocsf = 3001
    }
    /// Another verification mail was sent.
    VerificationSent = "verification_sent" {
        plain { } sealed { } retain_days = 365, ocsf = 3001
    }
    /// An e-mail address was verified; the account is active.
    EmailVerified = "email_verified" {
        plain { kind: AccountKind } sealed { } retain_days = 2555, ocsf = 3001
    }
    /// Whoever opened an account applied to be another kind; until an operator decides, the account
    /// is a customer's.
    Applied = "applied" {
        plain { kind: AccountKind } sealed { } retain_days = 2555, ocsf = 3001
    }
    /// An operator decided on an application.
    ApplicationDecided = "application_decided" {
        plain { kind: AccountKind, approved: bool } sealed { reason: String }
        retain_days = 2555, ocsf = 3005
    }
    /// Somebody signed in.
    LoginSucceeded = "login_succeeded" {
        plain { client: Client, kind: AccountKind } sealed { session: SessionId }
        retain_days = 730, ocsf = 3002
    }
    /// A sign-in was refused.
    LoginFailed = "login_failed" {
        plain { reason: SignInFailure, client: Client } sealed { email: String }
        retain_days = 365, ocsf = 3002
    }
    /// A first factor was proved, and another is asked for; `enrols` where the account must get one.
    SecondFactorAsked = "second_factor_asked" {
        plain { client: Client, enrols: bool } sealed { } retain_days = 730, ocsf = 3002
    }
    /// A second factor was proved: the sign-in is whole.
    SecondFactorProved = "second_factor_proved" {
        plain { client: Client, method: Method } sealed { } retain_days = 730, ocsf = 3002
    }
    /// A code of a second factor was wrong.
    SecondFactorRefused = "second_factor_refused" {
        plain { method: Method } sealed { } retain_days = 365, ocsf = 3002
    }
    /// A second factor was proved inside a session, which goes on as its successor.
    SteppedUp = "stepped_up" {
        plain { client: Client, method: Method }
        sealed { session: SessionId, before: SessionId } retain_days = 730, ocsf = 3002
    }
    /// A device is trusted from now on: a second factor is not asked for there.
    DeviceTrusted = "device_trusted" {
        plain { client: Client } sealed { } retain_days = 2555, ocsf = 3001
    }
    /// A trusted device signed in, and was given another secret.
    TrustUsed = "trust_used" {
        plain { client: Client } sealed { } retain_days = 730, ocsf = 3002
    }
    /// A device is trusted no more.
    TrustEnded = "trust_ended" {
        plain { why: TrustEnd } sealed { } retain_days = 2555, ocsf = 3001
    }
    /// A second factor was begun; it counts when its first code was proved.
    FactorBegun = "factor_begun" {
        plain { method: Method } sealed { } retain_days = 730, ocsf = 3001
    }
    /// An account got a second factor; its other sessions ended.
    FactorAdded = "factor_added" {
        plain { method: Method, ended: u64 } sealed { } retain_days = 2555, ocsf = 3001
    }
    /// The owner took a second factor away; the account's other sessions ended.
    FactorRemoved = "factor_removed" {
        plain { method: Method, ended: u64 } sealed { } retain_days = 2555, ocsf = 3001
    }
    /// An operator took all second factors of an account away; its sessions ended.
    FactorsReset = "factors_reset" {
        plain { count: u32, ended: u64 } sealed { reason: String } retain_days = 2555, ocsf = 3001
    }
    /// An account got backup codes; older ones are good no more.
    BackupCodesMade = "backup_codes_made" {
        plain { count: u32 } sealed { } retain_days = 2555, ocsf = 3001
    }
    /// A backup code was used; so many are left.
    BackupCodeUsed = "backup_code_used" {
        plain { left: u32 } sealed { } retain_days = 2555, ocsf = 3002
    }
    /// The owner of a session proved the password again; the session goes on as its successor.
    PasswordConfirmed = "password_confirmed" {
        plain { client: Client } sealed { session: SessionId, before: SessionId }
        retain_days = 730, ocsf = 3002
    }
    /// The password that was asked for inside a session was another.
    PasswordRefused = "password_refused" {
        plain { client: Client } sealed { session: SessionId } retain_days = 365, ocsf = 3002
    }
    /// One session ended.
    SessionEnded = "session_ended" {
        plain { reason: EndReason } sealed { session: SessionId } retain_days = 730, ocsf = 3002
    }
    /// Several sessions of one account ended at once.
    SessionsEnded = "sessions_ended" {
        plain { reason: EndReason, count: u64 } sealed { } retain_days = 730, ocsf = 3002
    }
    /// After a restore, sessions and open links of every account ended.
    EverythingEnded = "everything_ended" {
        plain { sessions: u64, links: u64 } sealed { } retain_days = 2555, ocsf = 3002
    }
    /// A reset of the password was asked for; `known` tells whether a mail went out.
    ResetRequested = "reset_requested" {
        plain { known: bool } sealed { email: String } retain_days = 365, ocsf = 3001
    }
    /// An operator made a reset link.
    ResetLinkMade = "reset_link_made" {
        plain { } sealed { } retain_days = 2555, ocsf = 3001
    }
    /// A password became another; all the account's sessions ended.
    PasswordChanged = "password_changed" {
        plain { how: PasswordChange, ended: u64 } sealed { } retain_days = 2555, ocsf = 3001
    }
    /// A refresh token was used and replaced by its successor.
    Refreshed = "refreshed" {
        plain { generation: i64 } sealed { session: SessionId } retain_days = 90, ocsf = 3002
    }
    /// A refresh token was used again after its time: that sign-in ended.
    RefreshReused = "refresh_reused" {
        plain { behind: i64 } sealed { session: SessionId } retain_days = 2555, ocsf = 3002
    }
    /// The account's name was changed.
    ProfileChanged = "profile_changed" {
        plain { } sealed { } retain_days = 730, ocsf = 3001
    }
    /// An operator gave or took staff roles.
    RolesChanged = "roles_changed" {
        plain { roles: String } sealed { } retain_days = 2555, ocsf = 3005
    }
    /// An operator locked an account.
    AccountLocked = "account_locked" {
        plain { ended: u64 } sealed { reason: String } retain_days = 2555, ocsf = 3001
    }
    /// An operator unlocked an account.
    AccountUnlocked = "account_unlocked" {
        plain { } sealed { } retain_days = 2555, ocsf = 3001
    }
    /// The account's sessions must prove the password again before what is sensitive.
    StepUpAsked = "step_up_asked" {
        plain { } sealed { } retain_days = 730, ocsf = 3002
    }
    /// A person was erased; the key of everything sealed about them is destroyed.
    AccountErased = "account_erased" {
        plain { kind: AccountKind, ended: u64 } sealed { } retain_days = 2555, ocsf = 3001
    }
    /// A response that was asked for was obeyed.
    ResponseApplied = "response_applied" {
        plain { done: Obeyed, rule: String, count: u64 } sealed { } retain_days = 730, ocsf = 3002
    }
    /// Rows whose time is over were deleted.
    Swept = "swept" {
        plain { tickets: u64, sessions: u64, half_way: u64 } sealed { } retain_days = 90, ocsf = 3001
    }
}
