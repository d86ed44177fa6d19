//! Alerts: what a rule found, for a person to judge. One attack is one alert: what a rule finds of
//! the same thing within a day is counted on the alert that stands.
//!
//! Details (the address, the events that led to it) are sealed under the key of the person, or of
//! the day; the row itself says only which rule, how often and when.

use std::net::IpAddr;

use kernel::{Ctx, EventId, Timestamp};
use serde::{Deserialize, Serialize};
use spine::{FromRow, Place, Recorded, Row, StoreError, Subject, Tx, args, transact};

use crate::answer::{self, Answer};
use crate::engine::Fired;
use crate::error::Error;
use crate::events;
use crate::room::Watch;
use crate::rule::{Rule, Severity};
use crate::subject::{about, columns, open, subject_of};

spine::sql! {
    read STANDING =
        "SELECT id, version, rule, severity, state, verdict, account, day, times, amount, \
         details_sealed, first_at, last_at FROM watch_alert WHERE rule = $1 AND key_index = $2 \
         AND state <> 'closed' AND last_at >= $3 ORDER BY last_at DESC LIMIT 1";
    read ONE =
        "SELECT id, version, rule, severity, state, verdict, account, day, times, amount, \
         details_sealed, first_at, last_at FROM watch_alert WHERE id = $1";
    read PAGE =
        "SELECT id, version, rule, severity, state, verdict, account, day, times, amount, \
         details_sealed, first_at, last_at FROM watch_alert WHERE id < $1 \
         AND (CAST($2 AS TEXT) IS NULL OR state = $2) ORDER BY id DESC LIMIT $3";
    fact RAISE in watch_alert =
        "INSERT INTO watch_alert (id, version, rule, severity, state, key_index, account, day, \
         times, amount, details_sealed, first_at, last_at) \
         VALUES ($1, 1, $2, $3, 'open', $4, $5, $6, 1, $7, $8, $9, $9) RETURNING id";
    fact REPEAT in watch_alert =
        "UPDATE watch_alert SET version = version + 1, times = times + 1, amount = $2, \
         details_sealed = $3, account = $4, day = $5, last_at = $6 \
         WHERE id = $1 AND state <> 'closed' RETURNING id, version, times";
    fact ACKNOWLEDGE in watch_alert =
        "UPDATE watch_alert SET version = version + 1, state = 'acknowledged' \
         WHERE id = $1 AND state = 'open' RETURNING id, version";
    fact CLOSE in watch_alert =
        "UPDATE watch_alert SET version = version + 1, state = 'closed', verdict = $2, \
         closed_at = $3 WHERE id = $1 AND state <> 'closed' RETURNING id, version";
    fact BLANK in watch_alert =
        "UPDATE watch_alert SET version = version + 1, key_index = NULL, account = NULL, \
         day = NULL, details_sealed = NULL WHERE id IN \
         (SELECT id FROM watch_alert WHERE account = $1 LIMIT $2) RETURNING id";
}

kernel::id! {
    /// An alert.
    pub AlertId = "alr";
}

spine::words! {
    /// Where an alert stands.
    pub AlertState {
        /// Nobody took care of it yet.
        Open = "open",
        /// Somebody does.
        Acknowledged = "acknowledged",
        /// It is over.
        Closed = "closed",
    }
}

spine::words! {
    /// What a person found an alert to be.
    pub Verdict {
        /// It was what the rule says.
        Attack = "attack",
        /// Honest people did that.
        FalseAlarm = "false_alarm",
        /// It cannot be told.
        Unclear = "unclear",
    }
}

/// An alert, as far as it stands in the clear.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Its id.
    pub id: AlertId,
    /// Its rule.
    pub rule: String,
    /// How much it matters.
    pub severity: Severity,
    /// Where it stands.
    pub state: AlertState,
    /// What it was found to be, once closed.
    pub verdict: Option<Verdict>,
    /// Whose key seals its details.
    pub subject: Subject,
    /// How often its rule fired.
    pub times: i64,
    /// What was measured the last time: events, accounts or clients.
    pub amount: i64,
    /// When its rule first fired.
    pub first_at: Timestamp,
    /// When it last did.
    pub last_at: Timestamp,
    sealed: Option<Vec<u8>>,
}

impl FromRow for Alert {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: AlertId::from_bytes(row.id16("id")?),
            rule: row.text("rule")?,
            severity: spine::word_of(row, "severity")?,
            state: spine::word_of(row, "state")?,
            verdict: row.opt_text("verdict")?.and_then(|word| Verdict::parse(&word)),
            subject: subject_of(row)?,
            times: row.int("times")?,
            amount: row.int("amount")?,
            first_at: row.time("first_at")?,
            last_at: row.time("last_at")?,
            sealed: row.opt_bytes("details_sealed")?,
        })
    }
}

/// The sealed part of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The client of the last event, where it is known.
    pub address: Option<IpAddr>,
    /// Bad events within the window.
    pub bad: u32,
    /// Good events within the window.
    pub good: u32,
    /// How many were too many.
    pub threshold: u32,
    /// The window, s.
    pub window_s: u32,
    /// The last events that led to it, oldest first.
    pub evidence: Vec<EventId>,
}

/// Why an alert was raised.
#[derive(Clone, Debug)]
pub struct Why {
    /// The alert.
    pub alert: Alert,
    /// Its details; none where the person was erased, or the day retired.
    pub details: Option<Details>,
    /// The events that led to it, as far as they have their leaf; their sealed parts are gone
    /// where a person was erased.
    pub events: Vec<Recorded>,
    /// What was asked for, would have been, or was withheld.
    pub answers: Vec<Answer>,
}

fn place(id: AlertId) -> Place<'static> {
    Place { table: "watch_alert", column: "details_sealed", row: *id.as_bytes() }
}

/// What is to be told of a firing.
pub(crate) struct Finding<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) fired: &'a Fired,
    pub(crate) subject: Subject,
    pub(crate) address: Option<IpAddr>,
}

impl Finding<'_> {
    fn details(&self) -> Details {
        Details {
            address: self.address,
            bad: self.fired.bad,
            good: self.fired.good,
            threshold: self.rule.threshold,
            window_s: self.rule.window_s,
            evidence: self.fired.trail.clone(),
        }
    }
}

impl Watch {
    /// Raises an alert, or counts on the one that stands.
    pub(crate) async fn raise(
        &self,
        tx: &mut Tx,
        finding: &Finding<'_>,
    ) -> Result<AlertId, spine::Error> {
        let Finding { rule, fired, subject, .. } = finding;
        let now = tx.ctx().now;
        let group = std::time::Duration::from_secs(u64::from(self.config().group_s));
        let standing: Option<Alert> =
            tx.maybe(&STANDING, args![rule.name, fired.key.0, now.minus(group)]).await?;
        let id = standing
            .as_ref()
            .map_or_else(|| AlertId::generate(now, tx.ctx().entropy()), |alert| alert.id);
        let details = finding.details();
        let json = serde_json::to_vec(&details)?;
        let sealed = self.sealer().seal(*subject, place(id), &json, tx.ctx().entropy())?;
        let (account, day) = columns(*subject);
        let evidence = details.evidence;
        let (name, severity, amount) = (rule.name.to_owned(), rule.severity, fired.amount);
        if standing.is_some() {
            let row = args![id.as_bytes(), amount, sealed, account, day, now];
            if let Some(row) = tx.change_one(&REPEAT, row).await? {
                let (version, times) = (row.int("version")?, row.int("times")?);
                let about = about(*subject, "alert", *id.as_bytes(), version);
                let alert = id.to_string();
                let event =
                    events::AlertRepeated { rule: name, severity, amount, times, alert, evidence };
                tx.emit(about, event)?;
            }
            return Ok(id);
        }
        let (word, key) = (severity.as_str(), fired.key.0);
        let row = args![id.as_bytes(), rule.name, word, key, account, day, amount, sealed, now];
        tx.change(&RAISE, row).await?;
        let event =
            events::AlertRaised { rule: name, severity, amount, alert: id.to_string(), evidence };
        tx.emit(about(*subject, "alert", *id.as_bytes(), 1), event)?;
        Ok(id)
    }

    /// Alerts, newest first.
    ///
    /// # Errors
    /// As the database says.
    pub async fn alerts(
        &self,
        state: Option<AlertState>,
        before: Option<AlertId>,
        limit: i64,
    ) -> Result<Vec<Alert>, Error> {
        let before = before.map_or([0xff; 16], |id| *id.as_bytes());
        let limit = limit.clamp(1, kernel::Limits::PAGE_ROWS + 1);
        let mut read = self.spine().read().await?;
        Ok(read.all(&PAGE, args![before, state.map(AlertState::as_str), limit]).await?)
    }

    /// Why an alert was raised, and what followed.
    ///
    /// # Errors
    /// [`Error::NotFound`], or as the database says.
    pub async fn why(&self, id: AlertId) -> Result<Why, Error> {
        let mut read = self.spine().read().await?;
        let alert: Option<Alert> = read.maybe(&ONE, args![id.as_bytes()]).await?;
        let alert = alert.ok_or(Error::NotFound)?;
        let rows = read.all(&answer::OF_ALERT, args![id.as_bytes()]).await?;
        drop(read);
        self.sealer().resolve(&[alert.subject]).await?;
        let sealed = alert.sealed.as_deref();
        let details: Option<Details> = open(self.sealer(), alert.subject, place(alert.id), sealed)?;
        let mut found = Vec::new();
        for event in details.iter().flat_map(|details| &details.evidence) {
            match self.spine().event(*event).await {
                Ok(event) => found.push(event),
                Err(spine::Error::NoSuchEvent) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let answers = self.open_answers(rows).await?;
        Ok(Why { alert, details, events: found, answers })
    }

    /// Says that somebody takes care of an alert. Again is no error.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Closed`].
    pub async fn acknowledge(&self, ctx: &Ctx, id: AlertId) -> Result<(), Error> {
        let (alert, subject) = self.standing(ctx, id).await?;
        if alert.state == AlertState::Acknowledged {
            return Ok(());
        }
        transact!(self.spine(), ctx, tx => {
            let row = tx.change_one(&ACKNOWLEDGE, args![id.as_bytes()]).await?;
            // None: another was faster.
            if let Some(row) = row {
                let about = about(subject, "alert", *id.as_bytes(), row.int("version")?);
                let rule = alert.rule.clone();
                tx.emit(about, events::AlertAcknowledged { rule, alert: id.to_string() })?;
            }
            Ok::<_, Error>(())
        })
    }

    /// Closes an alert with what it was found to be.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Closed`].
    pub async fn close(&self, ctx: &Ctx, id: AlertId, verdict: Verdict) -> Result<(), Error> {
        let (alert, subject) = self.standing(ctx, id).await?;
        transact!(self.spine(), ctx, tx => {
            let row = args![id.as_bytes(), verdict.as_str(), ctx.now];
            let row = tx.change_one(&CLOSE, row).await?.ok_or(Error::Closed)?;
            let about = about(subject, "alert", *id.as_bytes(), row.int("version")?);
            let (rule, alert) = (alert.rule.clone(), id.to_string());
            tx.emit(about, events::AlertClosed { rule, verdict, alert })?;
            Ok::<_, Error>(())
        })
    }

    /// An alert that is not closed, and whose key can tell of it: its subject's, or the house's
    /// where that one is gone.
    async fn standing(&self, ctx: &Ctx, id: AlertId) -> Result<(Alert, Subject), Error> {
        let mut read = self.spine().read().await?;
        let alert: Option<Alert> = read.maybe(&ONE, args![id.as_bytes()]).await?;
        drop(read);
        let alert = alert.ok_or(Error::NotFound)?;
        if alert.state == AlertState::Closed {
            return Err(Error::Closed);
        }
        self.sealer().resolve(&[alert.subject, Subject::House]).await?;
        let alive = self.sealer().is_alive(alert.subject, ctx.entropy())?;
        let subject = if alive { alert.subject } else { Subject::House };
        Ok((alert, subject))
    }
}
