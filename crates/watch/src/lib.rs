//! Watch: rules over the event stream, answers, alerts.
//!
//! **What it guards.** Accounts against guessed, sprayed and stolen passwords and stolen tokens;
//! the shop against floods; honest people against rules that are wrong.
//!
//! **Way in.** [`Watch::open`] once a node; the program runs it as a [`spine::Consumer`];
//! [`routes`] for operators; [`Watch::ask`] where a person asks for an answer; [`Watch::observe`]
//! for what the edge saw; [`replay::replay`] to try rules on history.
//!
//! **Nouns.** A *rule* is data ([`Rule`]); a *window* is what a rule remembers of one key; an
//! *alert* is what a person sees; an *answer* is what is asked of another room, which obeys and
//! tells `….response_applied`.
//!
//! # Promises
//! - **A1** a rule fires exactly where the plain reading of its numbers says, within windows of
//!   twelve buckets: a window of W covers between 11/12 W and W;
//! - **A2** each event is counted once: through restarts, batches that are delivered again, and
//!   nodes that race; counts, alerts and answers are committed with the cursor, or not at all (only
//!   successes of clients that never failed are forgotten by a restart);
//! - **A3** no rule locks an owner out: what happens *to* an account asks it for a proof at the
//!   most, and ends its sessions only where somebody got in;
//! - **A4** memory is bounded, and a flood of one sort of key hides nothing of another sort;
//! - **A5** one attack is one answer, and one alert a rule: a key that was answered is quiet until
//!   the answer ends, whichever rule asked, and what is found of it within a day is counted on the
//!   alert that stands;
//! - **A6** an answer of a rule has passed the allow list, the off switch and the rule's budget in
//!   its own transaction; after the switch is turned no answer commits that has not seen it;
//! - **A7** every answer to a client ends by itself; a rule that is new here only tells what it
//!   would have done, for its first days;
//! - **A8** addresses and evidence are sealed; nothing of an erased person stays readable or
//!   findable.
//!
//! # Tables
//! `watch_alert`, `watch_answer`, `watch_switch` (facts); `watch_gate`, `watch_budget`,
//! `watch_tally`, `watch_rule`, `watch_window`, `watch_state`, `watch_erased` (upkeep).
//!
//! # Events
//! `watch.alert_raised`, `watch.alert_repeated`, `watch.alert_acknowledged`, `watch.alert_closed`,
//! `watch.answer_withheld`, `watch.answers_stopped`, `watch.answers_resumed`, `watch.limits_hit`,
//! `watch.persons_blanked`, `watch.old_retired`; and the spine's `watch.response_requested`.
//!
//! # Honest people behind one address
//! A carrier's NAT (CGNAT, RFC 6888) puts hundreds to thousands of subscribers behind one IPv4
//! address; an office or a school some tens to hundreds. What each number means to them:
//!
//! | rule | too many | what honest people do | why they are let through |
//! |---|---|---|---|
//! | `stuffing_client` | 10 accounts in 10 min, 70 % bad | of 200 sign-ins in ten minutes of a busy live show, some 30 mistype, some 6 give up | an account that gets in is no longer bad: 6 is below 10, and 6 of 200 is 3 %, not 70 % |
//! | | beyond excuse: 100 accounts | 100 who give up in ten minutes would be 3,000 people signing in at once through one address | raise the threshold for such a show, or put the carrier's net on the allow list |
//! | `guessing_client` | 50 failures in 10 min, 80 % bad | 200 sign-ins with 40 wrong passwords are 17 % bad | the share; beyond excuse only at 500 failures |
//! | `spraying_neighbours` | 40 accounts of one /24 in 1 h, 80 % bad | a whole /24 of a carrier is some 10,000 people, of whom most get in | the share; and it only alerts, since a block would meet a street |
//! | `slow_account` | 15 clients on one account in 24 h | a phone that changes networks all day with an old password saved: 3 to 8 addresses | the number; and the answer asks the owner for the password once, no more |
//! | `guessing_account` | 30 failures in 1 h | an app that tries an old password again and again | the owner is asked for a proof at the next sensitive act; sessions live on |
//! | `takeover_spray` | 5 accounts failed in 1 h, 70 % bad, then one gets in | at a NAT most get in, so the share is far from 70 % | the share; a small café where 5 people fail and a sixth gets in within the hour would be wronged: the sixth signs in again |
//! | `takeover_guess` | 12 failures, then in, from one client | an owner who tries twelve passwords in an hour | the owner signs in again: the price of this rule, and why it starts in dry run |
//! | `refresh_reused` | 1 | an app that loses an answer of ours repeats its token within the grace of ten seconds, which is no reuse | identity ends only that one sign-in; this rule makes sure of it, and tells |
//! | `refresh_reused_wide` | 10 accounts in 1 h | a broken release of the shop's app | it only alerts |
//! | `sign_up_flood` | 40 in 1 h from one client | a show that tells its viewers to sign up, through one carrier address | it only alerts |
//! | `reset_flood` | 20 accounts in 1 h | a campaign that makes people remember an old account | it only alerts |
//! | `operator_failures` | 5 in 15 min | an operator with caps lock | it only alerts |
//! | `limit_flood` | 5,000 refusals in 5 min | 1,000 viewers of one NAT that reload five times each | the edge refused them already; the block is 15 min, and the carrier's net belongs on the allow list of a shop that meets this |
//! | `second_factor_guessed` | 5 in 1 h | an owner whose phone's clock is off | it only alerts: codes have a budget of their own, and a call to the owner tells which it is |
//! | `keys_drained` | 30,000 persons' keys in 15 min | after a restart of core, everybody who comes back in a quarter of an hour | the number, for a shop of 100,000 accounts; it only alerts, and a larger shop raises it with its budget |
//!
//! All clients whose address is unknown, and all that come through a proxy that is not trusted,
//! look like one: configure trusted proxies before a rule may act, and put the proxies on the allow
//! list.
//!
//! # Threats
//! Covered: stuffing and spraying from one address, from an IPv6 /64, from a /24; slow and spread
//! attacks on one account; a guess that was right; stolen refresh tokens; an attacker who signs in
//! to own accounts to look honest; one who floods keys to make the house forget; rules that run
//! wild; a node that crashes, is slow, or comes back.
//! *Not* covered: an attack from thousands of networks with one try on each of thousands of
//! accounts (each looks like a person who mistypes); what happens to accounts of other shops; a
//! client that stays below every number, which costs it most of its speed; who can write to the
//! upkeep tables can make windows and budgets forget (not what was answered: that is a fact in the
//! log).

mod alert;
mod answer;
mod config;
mod consumer;
pub mod engine;
mod erased;
mod error;
mod events;
mod http;
mod net;
mod observe;
pub mod replay;
mod retire;
mod room;
mod rule;
mod rules;
mod seen;
mod state;
mod subject;
mod switch;
mod tables;
mod tally;
mod view;

pub use alert::{Alert, AlertId, AlertState, Details, Verdict, Why};
pub use answer::{Answer, AnswerId, AnswerState, Ask, BY_A_PERSON, Withheld};
pub use config::{RuleConfig, Tuned, WatchConfig, tune};
pub use error::Error;
pub use events::*;
pub use http::{describe, routes};
pub use room::Watch;
pub use rule::{Key, Measure, Rule, Severity, Signal, Trigger};
pub use rules::RULES;
pub use switch::Switch;
pub use tally::Tally;

/// What the room brings into the house.
pub const ROOM: spine::Room = spine::Room {
    name: "watch",
    number: 6,
    tables: tables::TABLES,
    events: EVENTS,
    migrations: &[spine::Migration {
        version: 60_001,
        name: "watch/0001_watch",
        text: include_str!("../migrations/0001_watch.sql"),
    }],
    statements: &[
        alert::STATEMENTS,
        answer::STATEMENTS,
        erased::STATEMENTS,
        retire::STATEMENTS,
        state::STATEMENTS,
        switch::STATEMENTS,
        tally::STATEMENTS,
    ],
    consumers: &["watch"],
    obeys: &[],
};
