//! Erasure (A8): what alerts and answers say about an erased person is blanked.
//!
//! Their sealed parts died with the person's key; what is blanked here is whom the rows were about.
//! A transaction holds only so many rows, so who is to be blanked stands on a list, and each batch
//! of events, and each [`crate::Watch::retire`], takes from it what it can.

use kernel::{AccountId, EventId};
use spine::{About, FromRow, Row, StoreError, Tx, args};

use crate::events::PersonsBlanked;
use crate::{alert, answer};

spine::sql! {
    upkeep NOTE in watch_erased =
        "INSERT INTO watch_erased (account) VALUES ($1) ON CONFLICT (account) DO NOTHING";
    read WAITING = "SELECT account FROM watch_erased ORDER BY account LIMIT 100";
    upkeep DONE in watch_erased = "DELETE FROM watch_erased WHERE account = $1";
}

struct Waiting([u8; 16]);

impl FromRow for Waiting {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        row.id16("account").map(Self)
    }
}

/// Puts a person on the list.
pub(crate) async fn note(tx: &mut Tx, account: AccountId) -> Result<(), spine::Error> {
    tx.upkeep(&NOTE, args![account.as_bytes()]).await?;
    Ok(())
}

/// Blanks at most `rows` rows of persons on the list. Gives how many it blanked.
pub(crate) async fn blank(tx: &mut Tx, rows: usize) -> Result<u64, spine::Error> {
    let waiting: Vec<Waiting> = tx.all(&WAITING, args![]).await?;
    let number = |count: usize| i64::try_from(count).unwrap_or(0);
    let (mut left, mut persons, mut alerts, mut answers) = (rows, 0, 0, 0);
    for Waiting(account) in waiting {
        if left == 0 {
            break;
        }
        let blanked = tx.change(&alert::BLANK, args![account, number(left)]).await?.len();
        left = left.saturating_sub(blanked);
        alerts += number(blanked);
        let blanked = tx.change(&answer::BLANK, args![account, number(left)]).await?.len();
        left = left.saturating_sub(blanked);
        answers += number(blanked);
        // With none left there may be more of this person: next time.
        if left > 0 {
            tx.upkeep(&DONE, args![account]).await?;
            persons += 1;
        }
    }
    let all = u64::try_from(alerts + answers).unwrap_or(0);
    if all > 0 {
        let id = EventId::generate(tx.ctx().now, tx.ctx().entropy());
        let about = About::house("persons_blanked", *id.as_bytes(), 0);
        tx.emit(about, PersonsBlanked { persons, alerts, answers })?;
    }
    Ok(all)
}
