//! Answers: what is asked of the room that owns a thing, by a rule or by a person, through one
//! door. Each is a row that says who asked, for what, why, and until when.
//!
//! A rule's answer passes, in its own transaction, the allow list, the one off switch and the
//! rule's budget. A person's request passes none of them: the person is the judgement.

use std::net::IpAddr;
use std::time::Duration;

use kernel::{AccountId, Ctx, SessionId, Timestamp};
use spine::{
    ActionKind, FromRow, Meets, Place, ResponseRequested, Row, SealError, StoreError, Subject, Tx,
    args, transact,
};

use crate::alert::AlertId;
use crate::engine::Mark;
use crate::error::Error;
use crate::room::Watch;
use crate::seen::{account_mark, client_mark};
use crate::subject::{SealedTarget, columns, open, subject_of};

spine::sql! {
    read OF_ALERT =
        "SELECT id, alert, rule, action, state, account, day, target_sealed, asked_at, until_at \
         FROM watch_answer WHERE alert = $1 ORDER BY id DESC LIMIT 100";
    read PAGE =
        "SELECT id, alert, rule, action, state, account, day, target_sealed, asked_at, until_at \
         FROM watch_answer WHERE id < $1 AND (CAST($2 AS TEXT) IS NULL OR state = $2) \
         ORDER BY id DESC LIMIT $3";
    /// $1 target, $2 action, $3 state, $4 now, $5 the moment after which an answer without an end
    /// is still fresh.
    read STANDING =
        "SELECT id FROM watch_answer WHERE target_index = $1 AND action = $2 AND state = $3 \
         AND (until_at > $4 OR asked_at > $5) LIMIT 1";
    fact RECORD in watch_answer =
        "INSERT INTO watch_answer (id, version, alert, rule, action, state, account, day, \
         target_index, target_sealed, asked_at, until_at) \
         VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id";
    fact BLANK in watch_answer =
        "UPDATE watch_answer SET version = version + 1, account = NULL, day = NULL, \
         target_index = NULL, target_sealed = NULL WHERE id IN \
         (SELECT id FROM watch_answer WHERE account = $1 LIMIT $2) RETURNING id";
}

kernel::id! {
    /// An answer.
    pub AnswerId = "ans";
}

spine::words! {
    /// What became of an answer.
    pub AnswerState {
        /// It was asked for; the owner room tells what it did.
        Asked = "asked",
        /// The rule is in dry run: it would have been asked for.
        DryRun = "dry_run",
        /// The rule's budget of the hour was spent.
        OverBudget = "over_budget",
        /// Automatic answers are stopped.
        Stopped = "stopped",
        /// The client is on the allow list.
        Allowed = "allowed",
    }
}

spine::words! {
    /// Why an answer was withheld.
    pub Withheld {
        /// The rule's budget of the hour was spent.
        OverBudget = "over_budget",
        /// Automatic answers are stopped.
        Stopped = "stopped",
        /// The client is on the allow list.
        Allowed = "allowed",
    }
}

impl From<Withheld> for AnswerState {
    fn from(why: Withheld) -> Self {
        match why {
            Withheld::OverBudget => Self::OverBudget,
            Withheld::Stopped => Self::Stopped,
            Withheld::Allowed => Self::Allowed,
        }
    }
}

/// The rule's name where a person asked.
pub const BY_A_PERSON: &str = "person";
/// The longest that a person may ask for, s: 90 days.
pub(crate) const TTL_MAX_S: u32 = 7_776_000;
const REASON_BYTES: usize = 500;
/// How long an answer without an end is not asked for again.
const FRESH: Duration = Duration::from_secs(5);

/// An answer, with its target as far as that can still be known.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its id.
    pub id: AnswerId,
    /// The alert that it belongs to.
    pub alert: Option<AlertId>,
    /// The rule that asked, or [`BY_A_PERSON`].
    pub rule: String,
    /// What for, as a word.
    pub action: String,
    /// What became of it.
    pub state: AnswerState,
    /// The account that it meets.
    pub account: Option<AccountId>,
    /// The session that it meets.
    pub session: Option<SessionId>,
    /// The client that it meets.
    pub address: Option<IpAddr>,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

/// A row, before its target is opened.
pub(crate) struct AnswerRow {
    answer: Answer,
    subject: Subject,
    sealed: Option<Vec<u8>>,
}

impl FromRow for AnswerRow {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        let subject = subject_of(row)?;
        let alert = row.opt_bytes("alert")?.and_then(|bytes| bytes.try_into().ok());
        let account = match subject {
            Subject::Account(id) => Some(id),
            Subject::Day(_) | Subject::House => None,
        };
        let answer = Answer {
            id: AnswerId::from_bytes(row.id16("id")?),
            alert: alert.map(AlertId::from_bytes),
            rule: row.text("rule")?,
            action: row.text("action")?,
            state: spine::word_of(row, "state")?,
            account,
            session: None,
            address: None,
            asked_at: row.time("asked_at")?,
            until: row.opt_time("until_at")?,
        };
        Ok(Self { answer, subject, sealed: row.opt_bytes("target_sealed")? })
    }
}

/// That there is a row.
struct Found;

impl FromRow for Found {
    fn from_row(_: &Row) -> Result<Self, StoreError> {
        Ok(Self)
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What shall be done.
    pub action: ActionKind,
    /// To this account, where it is about one.
    pub account: Option<AccountId>,
    /// To this session of the account.
    pub session: Option<SessionId>,
    /// To this client.
    pub address: Option<IpAddr>,
    /// Until when.
    pub until: Option<Timestamp>,
    /// Why. It stands in the log: no names.
    pub reason: String,
}

impl Ask {
    /// An ask of a person, checked: that it names what its action needs, and ends.
    fn check(&self, now: Timestamp) -> Result<(), Error> {
        let account = self.account.is_none().then_some("account");
        let missing = match self.action.meets() {
            Meets::Account => account,
            Meets::Session => account.or_else(|| self.session.is_none().then_some("session")),
            Meets::Client => self.address.is_none().then_some("address"),
            Meets::Nobody => {
                return Err(Error::field("action", "is nothing that a room could do"));
            }
        };
        if let Some(field) = missing {
            return Err(Error::field(field, "is needed for this action"));
        }
        if self.reason.trim().is_empty() || self.reason.len() > REASON_BYTES {
            let detail = format!("must say why, in 1 to {REASON_BYTES} bytes");
            return Err(Error::field("reason", detail));
        }
        let last = now.plus(Duration::from_secs(u64::from(TTL_MAX_S)));
        let ends = self.until.is_some_and(|until| until > now && until <= last);
        if self.action == ActionKind::BlockClient && !ends {
            return Err(Error::field("until", "must be within the next 90 days"));
        }
        Ok(())
    }

    /// Whose key seals it.
    pub(crate) fn subject(&self, now: Timestamp) -> Subject {
        self.account.map_or_else(|| Subject::Day(now.day()), Subject::Account)
    }
}

/// What a row of an answer needs beside the ask.
pub(crate) struct Record<'a> {
    pub(crate) rule: &'a str,
    pub(crate) alert: Option<AlertId>,
    pub(crate) state: AnswerState,
}

impl Watch {
    /// Asks for an answer as a person, in the caller's transaction. The key of the account, or of
    /// the day, must have been resolved; [`Watch::ask`] does it all.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the ask lacks what its action needs, or the account is none.
    pub async fn request(&self, tx: &mut Tx, ask: Ask) -> Result<AnswerId, Error> {
        let ctx = tx.ctx().clone();
        ask.check(ctx.now)?;
        let nobody = || Error::field("account", "is no account of this house");
        match self.sealer().is_alive(ask.subject(ctx.now), ctx.entropy()) {
            Ok(true) => {}
            Ok(false) | Err(SealError::Unresolved) => return Err(nobody()),
            Err(error) => return Err(error.into()),
        }
        let record = Record { rule: BY_A_PERSON, alert: None, state: AnswerState::Asked };
        Ok(self.record(tx, &ask, record).await?)
    }

    /// Asks for an answer as a person.
    ///
    /// # Errors
    /// As [`Watch::request`].
    pub async fn ask(&self, ctx: &Ctx, ask: Ask) -> Result<AnswerId, Error> {
        ask.check(ctx.now)?;
        self.sealer().resolve(&[ask.subject(ctx.now), Subject::Day(ctx.now.day())]).await?;
        transact!(self.spine(), ctx, tx => {
            self.request(&mut tx, ask.clone()).await
        })
    }

    fn target_mark(&self, ask: &Ask) -> Option<Mark> {
        let account = ask.account.map(|account| account_mark(self.vault(), account));
        account.or(ask.address.map(|address| client_mark(self.vault(), address)))
    }

    /// Whether the same was asked for already, by whatever rule or person, and still stands: a
    /// block until it ends, all else for as long as two rules may take to find the same attack.
    pub(crate) async fn is_standing(
        &self,
        tx: &mut Tx,
        ask: &Ask,
        state: AnswerState,
    ) -> Result<bool, spine::Error> {
        let Some(mark) = self.target_mark(ask) else { return Ok(false) };
        let now = tx.ctx().now;
        let (action, state) = (ask.action.as_str(), state.as_str());
        let args = args![mark.0, action, state, now, now.minus(FRESH)];
        Ok(tx.maybe::<Found>(&STANDING, args).await?.is_some())
    }

    /// Writes the answer's row and, where it is asked for or would have been, the event that its
    /// owner room reads.
    pub(crate) async fn record(
        &self,
        tx: &mut Tx,
        ask: &Ask,
        record: Record<'_>,
    ) -> Result<AnswerId, spine::Error> {
        let now = tx.ctx().now;
        let id = AnswerId::generate(now, tx.ctx().entropy());
        let subject = ask.subject(now);
        let target = SealedTarget { session: ask.session, address: ask.address };
        let json = serde_json::to_vec(&target)?;
        let sealed = self.sealer().seal(subject, place(id), &json, tx.ctx().entropy())?;
        let (account, day) = columns(subject);
        let alert = record.alert.map(|alert| *alert.as_bytes());
        let (action, state) = (ask.action.as_str(), record.state.as_str());
        let rule = record.rule;
        let index = self.target_mark(ask).map(|mark| mark.0);
        let mut row = args![id.as_bytes(), alert, rule, action, state, account, day];
        row.extend(args![index, sealed, now, ask.until]);
        tx.change(&RECORD, row).await?;
        let dry_run = match record.state {
            AnswerState::Asked => false,
            AnswerState::DryRun => true,
            AnswerState::OverBudget | AnswerState::Stopped | AnswerState::Allowed => return Ok(id),
        };
        let event = ResponseRequested {
            action: ask.action,
            rule: record.rule.to_owned(),
            reason: ask.reason.clone(),
            dry_run,
            account: ask.account,
            session: ask.session,
            address: ask.address,
            until: ask.until,
        };
        event.request(tx)?;
        Ok(id)
    }

    /// Answers, newest first: with [`AnswerState::DryRun`], what would have been done.
    ///
    /// # Errors
    /// As the database says.
    pub async fn answers(
        &self,
        state: Option<AnswerState>,
        before: Option<AnswerId>,
        limit: i64,
    ) -> Result<Vec<Answer>, Error> {
        let before = before.map_or([0xff; 16], |id| *id.as_bytes());
        let limit = limit.clamp(1, kernel::Limits::PAGE_ROWS + 1);
        let mut read = self.spine().read().await?;
        let rows = read.all(&PAGE, args![before, state.map(AnswerState::as_str), limit]).await?;
        drop(read);
        self.open_answers(rows).await
    }

    /// Opens the targets of answers, as far as their keys are there.
    pub(crate) async fn open_answers(&self, rows: Vec<AnswerRow>) -> Result<Vec<Answer>, Error> {
        let mut subjects: Vec<Subject> = rows.iter().map(|row| row.subject).collect();
        subjects.sort_unstable();
        subjects.dedup();
        self.sealer().resolve(&subjects).await?;
        let open_one = |row: AnswerRow| {
            let AnswerRow { mut answer, subject, sealed } = row;
            let target: Option<SealedTarget> =
                open(self.sealer(), subject, place(answer.id), sealed.as_deref())?;
            let target = target.unwrap_or_default();
            answer.session = target.session;
            answer.address = target.address;
            Ok(answer)
        };
        rows.into_iter().map(open_one).collect()
    }
}

fn place(id: AnswerId) -> Place<'static> {
    Place { table: "watch_answer", column: "target_sealed", row: *id.as_bytes() }
}
