//! The room follows the log: each batch is counted, and what has had enough is told and answered,
//! in the one transaction that also moves the cursor (A2).

use std::collections::BTreeMap;
use std::time::Duration;

use spine::{ActionKind, BoxFuture, Consumer, Meets, Recorded, Subject, Tx};

use crate::alert::{AlertId, Finding};
use crate::answer::{AnswerState, Ask, Record, Withheld};
use crate::config::Tuned;
use crate::engine::{Fired, Mark};
use crate::room::Watch;
use crate::rule::{Key, Rule, Trigger};
use crate::seen::{KINDS, Target, account_mark, decode};
use crate::state::Live;
use crate::subject::about;
use crate::switch::pass_gate;
use crate::tally::{self, Tally, spend};
use crate::{erased, events};

/// Events that one batch may tell, below what a transaction may hold. What fires beyond is counted.
const TOLD_MAX: usize = 480;
/// Stands for "and more" where a rule had more to tell than it may.
const MORE: Mark = Mark([0xff; 16]);

/// What one batch has done so far.
#[derive(Default)]
struct Batch {
    told: usize,
    /// Whether answers are stopped; none until the gate was taken.
    stopped: Option<bool>,
    tallies: BTreeMap<&'static str, Tally>,
}

impl Consumer for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }

    fn kinds(&self) -> &'static [&'static str] {
        KINDS
    }

    fn handle<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), spine::Error>> {
        Box::pin(self.take(tx, events))
    }
}

impl Watch {
    async fn take(&self, tx: &mut Tx, events: &[Recorded]) -> Result<(), spine::Error> {
        let mut live = self.live().lock().await;
        self.load(tx, &mut live).await?;
        let now = tx.ctx().now;
        let mut batch = Batch::default();
        let mut fired = Vec::new();
        for event in events {
            if event.index < live.next_index {
                continue;
            }
            live.next_index = event.index + 1;
            if let Some(account) = event.erased_account() {
                self.forget(tx, &mut live, account_mark(self.vault(), account)).await?;
                erased::note(tx, account).await?;
                continue;
            }
            let Some((seen, target)) = decode(self.vault(), event, now) else { continue };
            live.engine.see(&seen, &mut fired);
            for found in fired.drain(..) {
                let Some(tuned) = self.rules().get(found.rule) else { continue };
                let dry = self.is_dry(tuned, &live, now);
                self.tell(tx, &mut batch, (&tuned.rule, dry), (&found, target)).await?;
            }
        }
        erased::blank(tx, TOLD_MAX.saturating_sub(batch.told)).await?;
        tally::count(tx, &batch.tallies).await?;
        self.save(tx, &mut live).await
    }

    fn is_dry(&self, tuned: &Tuned, live: &Live, now: kernel::Timestamp) -> bool {
        tuned.dry_run.unwrap_or_else(|| {
            let days = Duration::from_secs(u64::from(self.config().dry_run_days) * 86_400);
            live.since.get(tuned.rule.name).is_none_or(|since| now < since.plus(days))
        })
    }

    /// Raises the alert, and answers where there is something to answer.
    async fn tell(
        &self,
        tx: &mut Tx,
        batch: &mut Batch,
        (rule, dry): (&Rule, bool),
        (fired, target): (&Fired, Target),
    ) -> Result<(), spine::Error> {
        batch.tallies.entry(rule.name).or_default().fired += 1;
        if batch.told + 1 + rule.answers.len() > TOLD_MAX {
            tracing::warn!(rule = rule.name, "a batch fires more than it may tell");
            return Ok(());
        }
        let now = tx.ctx().now;
        let subject = match (rule.key, target.account) {
            (Key::House, _) => Subject::House,
            (_, Some(account)) if is_about_account(rule) => Subject::Account(account),
            // What is about a client is no one person's.
            (_, _) => Subject::Day(now.day()),
        };
        let alive = self.sealer().is_alive(subject, tx.ctx().entropy())?;
        let sealed_for = if alive { subject } else { Subject::House };
        let finding = Finding { rule, fired, subject: sealed_for, address: target.address };
        let alert = self.alert_within_bounds(tx, batch, &finding).await?;
        if alive && !rule.answers.is_empty() {
            self.answer(tx, batch, (rule, dry), alert, (fired, target)).await?;
        }
        Ok(())
    }

    /// One alert, or, over the rule's bound of the hour, one that says that there are more.
    async fn alert_within_bounds(
        &self,
        tx: &mut Tx,
        batch: &mut Batch,
        finding: &Finding<'_>,
    ) -> Result<Option<AlertId>, spine::Error> {
        let name = finding.rule.name;
        if spend(tx, &format!("alert:{name}"), self.config().alerts_per_hour).await? {
            batch.told += 1;
            return self.raise(tx, finding).await.map(Some);
        }
        if spend(tx, &format!("more:{name}"), 1).await? {
            batch.told += 1;
            let fired = Fired { key: MORE, ..finding.fired.clone() };
            let more =
                Finding { fired: &fired, subject: Subject::House, address: None, ..*finding };
            return self.raise(tx, &more).await.map(Some);
        }
        Ok(None)
    }

    async fn answer(
        &self,
        tx: &mut Tx,
        batch: &mut Batch,
        (rule, dry): (&Rule, bool),
        alert: Option<AlertId>,
        (fired, target): (&Fired, Target),
    ) -> Result<(), spine::Error> {
        let now = tx.ctx().now;
        let standing = if dry { AnswerState::DryRun } else { AnswerState::Asked };
        let mut asks = Vec::new();
        for ask in rule.answers.iter().filter_map(|action| ask(rule, *action, target, now)) {
            // A5: two rules that find the same attack ask once.
            if !self.is_standing(tx, &ask, standing).await? {
                asks.push(ask);
            }
        }
        if asks.is_empty() {
            return Ok(());
        }
        let state = self.pass(tx, batch, (rule, dry), target).await?;
        let tally = batch.tallies.entry(rule.name).or_default();
        let (field, withheld) = match state {
            AnswerState::Asked => (&mut tally.asked, None),
            AnswerState::DryRun => (&mut tally.dry, None),
            AnswerState::OverBudget => (&mut tally.withheld, Some(Withheld::OverBudget)),
            AnswerState::Stopped => (&mut tally.withheld, Some(Withheld::Stopped)),
            AnswerState::Allowed => (&mut tally.withheld, Some(Withheld::Allowed)),
        };
        *field += 1;
        tracing::info!(rule = rule.name, amount = fired.amount, %state, "a rule has had enough");
        for ask in asks {
            batch.told += 1;
            let id = self.record(tx, &ask, Record { rule: rule.name, alert, state }).await?;
            if let Some(why) = withheld {
                let about = about(ask.subject(now), "answer", *id.as_bytes(), 1);
                let name = rule.name.to_owned();
                tx.emit(about, events::AnswerWithheld { rule: name, action: ask.action, why })?;
            }
        }
        Ok(())
    }

    /// Whether a rule may answer: allow list, then dry run, then the switch, then its budget.
    async fn pass(
        &self,
        tx: &mut Tx,
        batch: &mut Batch,
        (rule, dry): (&Rule, bool),
        target: Target,
    ) -> Result<AnswerState, spine::Error> {
        let blocks = rule.answers.contains(&ActionKind::BlockClient);
        let is_allowed = |address| self.config().allow.iter().any(|net| net.contains(address));
        if blocks && target.address.is_some_and(is_allowed) {
            return Ok(AnswerState::Allowed);
        }
        if dry {
            // A budget of its own: what would have been done is told as truly as what was.
            let name = format!("dry:{}", rule.name);
            let within = spend(tx, &name, rule.budget_per_hour).await?;
            return Ok(if within { AnswerState::DryRun } else { AnswerState::OverBudget });
        }
        let stopped = match batch.stopped {
            Some(stopped) => stopped,
            None => pass_gate(tx).await?.stopped,
        };
        batch.stopped = Some(stopped);
        if stopped {
            return Ok(AnswerState::Stopped);
        }
        let within = spend(tx, rule.name, rule.budget_per_hour).await?;
        Ok(if within { AnswerState::Asked } else { AnswerState::OverBudget })
    }
}

/// Whether what the rule finds is about one account.
fn is_about_account(rule: &Rule) -> bool {
    match rule.key {
        Key::Account | Key::Pair => true,
        Key::Client | Key::Neighbours => rule.trigger == Trigger::Good,
        Key::House => false,
    }
}

/// What the rule asks for; none where nobody is known whom it could meet.
fn ask(rule: &Rule, action: ActionKind, target: Target, now: kernel::Timestamp) -> Option<Ask> {
    let ttl = Duration::from_secs(u64::from(rule.answer_ttl_s));
    let mut ask = Ask {
        action,
        account: None,
        session: None,
        address: None,
        until: None,
        reason: rule.words.to_owned(),
    };
    match action.meets() {
        Meets::Account => ask.account = Some(target.account?),
        Meets::Session => {
            ask.account = Some(target.account?);
            ask.session = Some(target.session?);
        }
        // Rules let nobody in.
        Meets::Client if action == ActionKind::UnblockClient => return None,
        Meets::Client => {
            ask.address = Some(target.address?);
            ask.until = Some(now.plus(ttl));
        }
        // To alert is no answer.
        Meets::Nobody => return None,
    }
    Some(ask)
}
