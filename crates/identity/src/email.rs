//! An e-mail address that can be written to and compared: parsed once, then trusted.
//!
//! Two spellings that reach one mailbox at practically every provider (capital letters, a domain in
//! Unicode letters) are one address; what some provider alone does (dots, `+` tags) is left as it
//! is, because elsewhere it names another person.

use kernel::FieldProblem;
use unicode_normalization::UnicodeNormalization as _;

/// The longest address that mail can carry (RFC 5321 section 4.5.3.1.3, less the angle brackets).
const EMAIL_BYTES: usize = 254;
const LOCAL_BYTES: usize = 64;
const LABEL_BYTES: usize = 63;

/// A checked address. `Debug` shows nothing of it: it is personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct Email {
    typed: String,
    normal: String,
}

impl Email {
    /// Reads an address as a person typed it.
    ///
    /// # Errors
    /// A [`FieldProblem`] for the field `email` that says what is wrong and how to mend it.
    pub fn parse(typed: &str) -> Result<Self, FieldProblem> {
        let typed = typed.trim();
        if typed.len() > EMAIL_BYTES {
            return Err(problem("is longer than 254 characters"));
        }
        // Full-width letters and the like, as some keyboards type them, become plain ones.
        let composed: String = typed.nfkc().collect();
        let Some((local, domain)) = composed.rsplit_once('@') else {
            return Err(problem("needs an @, as in name@example.org"));
        };
        check_local(local)?;
        let domain = domain.to_ascii_lowercase();
        check_domain(&domain)?;
        let typed = format!("{local}@{domain}");
        if typed.len() > EMAIL_BYTES {
            return Err(problem("is longer than 254 characters"));
        }
        let normal = typed.to_ascii_lowercase();
        Ok(Self { typed, normal })
    }

    /// The address to write to: the local part as typed, the domain in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.typed
    }

    /// The address to compare by: all in lower case.
    #[must_use]
    pub fn normal(&self) -> &str {
        &self.normal
    }

    /// The part before the @, in lower case.
    #[must_use]
    pub fn local(&self) -> &str {
        self.normal.rsplit_once('@').map_or("", |(local, _)| local)
    }
}

impl std::fmt::Debug for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Email(..)")
    }
}

fn problem(detail: &str) -> FieldProblem {
    FieldProblem { field: "email".into(), detail: format!("The e-mail address {detail}.") }
}

/// A dot-atom (RFC 5322 section 3.2.3); quoted local parts and SMTPUTF8 are refused, as nearly all
/// mail systems do.
fn check_local(local: &str) -> Result<(), FieldProblem> {
    if local.is_empty() || local.len() > LOCAL_BYTES {
        return Err(problem("needs 1 to 64 characters before the @"));
    }
    let known = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    if !local.chars().all(known) {
        return Err(problem("may have letters a to z, digits and . _ - + before the @"));
    }
    if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err(problem("has a dot in a wrong place before the @"));
    }
    Ok(())
}

/// A host name of at least two labels (RFC 1035 section 2.3.1), or `localhost` labels for tests of
/// an installation; Unicode domains come as their `xn--` form.
fn check_domain(domain: &str) -> Result<(), FieldProblem> {
    if !domain.contains('.') {
        return Err(problem("needs a domain with a dot after the @, as in name@example.org"));
    }
    let label_holds = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !domain.split('.').all(label_holds) {
        return Err(problem(
            "has a domain that cannot exist (use its xn-- form if it is not ASCII)",
        ));
    }
    let last_is_number =
        domain.rsplit('.').next().is_some_and(|label| label.chars().all(|c| c.is_ascii_digit()));
    if last_is_number {
        return Err(problem("needs a domain's name, not a number"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_mailbox_are_one() {
        let a = Email::parse(" Ada.Lovelace@Example.ORG ").unwrap();
        let b = Email::parse("ada.lovelace@example.org").unwrap();
        assert_eq!(a.normal(), b.normal());
        assert_eq!(a.as_str(), "Ada.Lovelace@example.org");
        assert_eq!(a.local(), "ada.lovelace");
        // full-width letters
        assert_eq!(Email::parse("ａda@example.org").unwrap().normal(), "ada@example.org");
    }

    #[test]
    fn other_mailboxes_stay_others() {
        let a = Email::parse("ada+shop@example.org").unwrap();
        let b = Email::parse("ada@example.org").unwrap();
        assert_ne!(a.normal(), b.normal());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.org", "a".repeat(65));
        let cases = [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@localhost",
            "ada@@example.org",
            "a b@example.org",
            ".ada@example.org",
            "ada.@example.org",
            "a..b@example.org",
            "ada@-example.org",
            "ada@example-.org",
            "ada@exa_mple.org",
            "ada@127.0.0.1",
            "\"a\"@example.org",
            "ada@example.org\r\nBcc: eve@example.org",
            "ада@example.org",
            "ada@example..org",
            long.as_str(),
        ];
        for case in cases {
            assert!(Email::parse(case).is_err(), "{case:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_again_changes_nothing(text in "\\PC{0,80}") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(&Email::parse(email.as_str()).unwrap(), &email);
                let again = Email::parse(email.normal()).unwrap();
                prop_assert_eq!(again.normal(), email.normal());
            }
        }

        #[test]
        fn nothing_that_parses_breaks_a_mail_header(
            local in "[A-Za-z0-9.+\\r\\n:<>, _-]{1,20}", domain in "[a-z0-9.\\r\\n-]{1,20}",
        ) {
            if let Ok(email) = Email::parse(&format!("{local}@{domain}")) {
                prop_assert!(email.as_str().bytes().all(|b| b.is_ascii_graphic()));
                prop_assert!(!email.as_str().contains(['<', '>', ',', ':', ' ']));
            }
        }

        #[test]
        fn case_never_makes_two(local in "[a-z]{1,10}", domain in "[a-z]{1,10}") {
            let lower = Email::parse(&format!("{local}@{domain}.org")).unwrap();
            let upper = Email::parse(&format!("{local}@{domain}.org").to_uppercase()).unwrap();
            prop_assert_eq!(lower.normal(), upper.normal());
        }
    }
}
