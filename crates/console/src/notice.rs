//! Notices: what a page says first after an act.

use serde::Deserialize;

/// What a page says first after an act.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct NoticeQuery {
    #[serde(default)]
    pub(crate) notice: Option<String>,
}

/// The words of a notice; unknown codes say nothing.
pub(crate) fn notice(code: Option<&str>) -> Option<&'static str> {
    Some(match code? {
        "signed-out" => "You are signed out.",
        "ended" => "Done. The sessions have ended.",
        "asked" => "Asked for. It will be done within a moment; reload to see.",
        "step-up" => "Done. The password is asked for again before anything sensitive.",
        "locked" => "The account is locked, and its sessions have ended.",
        "unlocked" => "The account is open again.",
        "factors" => "The second factors are taken away; the sessions have ended.",
        "blocked" => "The client is blocked.",
        "unblocked" => "The client may come in again.",
        "acknowledged" => "You take care of this alert.",
        "closed" => "The alert is closed.",
        "stopped" => "Automatic answers are stopped.",
        "resumed" => "Automatic answers go on.",
        "revoked" => "The key is revoked.",
        "approved" => "The account is now what it applied to be; its owner signs in anew.",
        "declined" => "The account stays a customer's.",
        _ => return None,
    })
}
