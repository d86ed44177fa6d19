//! What other programs on this database changed: other nodes, and commands that ran beside this one.
//! Each node looks each second, whatever it hears by other ways; nothing is read anew that has not
//! changed.

use std::sync::Arc;

use spine::{FromRow, Row, StoreError, args, sql};
use web::feed::{Delta, RouteTable};

use crate::error::Error;
use crate::room::Access;

sql! {
    read BLOCKS_MARK = "SELECT COUNT(*) AS blocks, \
        CAST(COALESCE(SUM(version), 0) AS BIGINT) AS versions, \
        CAST(COALESCE(SUM((created_at + until_at) % 1000000007), 0) AS BIGINT) AS times \
        FROM access_block WHERE state = 'active'";
}

/// What a follower saw last.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    revision: i64,
    blocks: Option<BlocksMark>,
}

/// Tells one set of standing blocks from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BlocksMark {
    blocks: i64,
    versions: i64,
    times: i64,
}

impl FromRow for BlocksMark {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            blocks: row.int("blocks")?,
            versions: row.int("versions")?,
            times: row.int("times")?,
        })
    }
}

/// What has changed since a follower looked last.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// The routes in force, where they are newer.
    pub routes: Option<Arc<RouteTable>>,
    /// Every block that stands, where they are not the same.
    pub blocks: Option<Vec<Delta>>,
}

impl Followed {
    /// Lets the next look read everything.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Access {
    /// Looks for routes and blocks that others changed.
    ///
    /// # Errors
    /// [`Error`] where the store or the vault does not answer: what was seen stays as it was.
    pub async fn follow(&self, followed: &mut Followed) -> Result<News, Error> {
        let mut read = self.spine().read().await?;
        let mark: BlocksMark = read.one(&BLOCKS_MARK, args![]).await?;
        drop(read);
        // The mark first: what changes in between is looked at once more.
        let changed = followed.blocks != Some(mark);
        let blocks = if changed { Some(self.standing_blocks().await?) } else { None };
        let newer = self.newer_routes(followed.revision).await?;
        followed.blocks = Some(mark);
        let routes = newer.map(|(revision, table)| {
            followed.revision = revision;
            table
        });
        Ok(News { routes, blocks })
    }
}
