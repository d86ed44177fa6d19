//! The demo's people: one account of every kind.

use identity::{AccountKind, OpenAccount, StaffRole};
use kernel::Secret;

use crate::command::init::random_text;
use crate::house::House;

/// One of them.
pub(crate) struct Person {
    pub kind: &'static str,
    pub email: &'static str,
    pub password: Secret<String>,
}

type Cast = (&'static str, AccountKind, &'static [StaffRole], &'static str, &'static str);

const CAST: [Cast; 6] = [
    ("customer", AccountKind::Customer, &[], "lena@demo.example", "Lena Okafor"),
    ("influencer", AccountKind::Influencer, &[], "mara@demo.example", "Mara Voss"),
    ("wholesaler", AccountKind::Wholesaler, &[], "teo@demo.example", "Teo Lindqvist"),
    ("operator (admin)", AccountKind::Staff, &[StaffRole::Admin], "ops@demo.example", "Iris Admin"),
    (
        "operator (support)",
        AccountKind::Staff,
        &[StaffRole::Support],
        "help@demo.example",
        "Noor Support",
    ),
    (
        "operator (auditor)",
        AccountKind::Staff,
        &[StaffRole::Auditor],
        "audit@demo.example",
        "Sven Auditor",
    ),
];

/// Opens their accounts.
pub(crate) async fn settle(house: &House) -> anyhow::Result<Vec<Person>> {
    let mut people = Vec::with_capacity(CAST.len());
    for (word, kind, roles, email, name) in CAST {
        let password = random_text(14);
        let account = OpenAccount {
            kind,
            email: email.to_owned(),
            name: name.to_owned(),
            roles: roles.to_vec(),
            password: Some(password.clone()),
        };
        house.identity.open_account(&house.operator_ctx(), account).await?;
        people.push(Person { kind: word, email, password });
    }
    Ok(people)
}
