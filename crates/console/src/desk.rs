//! The desk: what the page of one operator may show and offer, and the links of its head.

use web::{Caller, Page, Role as _, Shape};

use crate::sight::Sight;

const ALL: &[(&str, &str)] = &[
    ("Overview", "/console"),
    ("Events", "/console/events"),
    ("Alerts", "/console/alerts"),
    ("Rules", "/console/rules"),
    ("Routes", "/console/routes"),
    ("Nodes", "/console/nodes"),
    ("Audit", "/console/audit"),
];
const HELPING: &[(&str, &str)] = &[
    ("Overview", "/console"),
    ("Events", "/console/events"),
    ("Alerts", "/console/alerts"),
    ("Accounts", "/console/accounts"),
    ("Applications", "/console/applications"),
    ("Clients", "/console/clients"),
    ("Rules", "/console/rules"),
    ("Routes", "/console/routes"),
    ("Keys", "/console/keys"),
    ("Nodes", "/console/nodes"),
    ("Audit", "/console/audit"),
];

/// The desk of one operator.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    /// The operator's roles, in words.
    pub(crate) roles: String,
    /// How much of persons it shows.
    pub(crate) sight: Sight,
    /// Whether it helps account holders.
    pub(crate) support: bool,
    /// Whether it may do all.
    pub(crate) admin: bool,
    /// Whether it may have the log checked.
    pub(crate) auditor: bool,
    /// Whether the password is asked for before anything is done (C8).
    pub(crate) stale: bool,
}

impl Desk {
    pub(crate) fn of(caller: &Caller) -> Self {
        let roles = &caller.roles;
        Self {
            roles: roles.join(", "),
            sight: Sight::of(roles),
            support: web::Support::is_met_by(roles),
            admin: web::Admin::is_met_by(roles),
            auditor: web::Auditor::is_met_by(roles),
            stale: !caller.fresh,
        }
    }

    /// Whether it sees anything of persons.
    pub(crate) fn sees(&self) -> bool {
        self.sight != Sight::Nothing
    }

    /// A wide page of the console.
    pub(crate) fn page(&self, page: Page, title: impl Into<String>) -> Page {
        self.shaped(page, title, Shape::Wide)
    }

    /// A page of the console with another shape.
    pub(crate) fn shaped(&self, page: Page, title: impl Into<String>, shape: Shape) -> Page {
        page.titled(title, shape).with_nav(if self.support { HELPING } else { ALL })
    }
}
