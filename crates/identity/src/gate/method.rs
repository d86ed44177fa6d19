//! Ways of proving who one is, and which of them count as two.

use std::fmt;

spine::words! {
    /// A way in which somebody proves who they are.
    pub Method {
        /// The password.
        Password = "password",
        /// A code of an authenticator app (RFC 6238).
        Totp = "totp",
        /// One of the backup codes.
        BackupCode = "backup_code",
        /// A device in which one of them was proved before.
        TrustedDevice = "trusted_device",
    }
}

/// The sort of proof (NIST SP 800-63B): two of one sort are no two factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// Something that the person knows.
    Known,
    /// Something that the person has.
    Held,
}

impl Method {
    const fn sort(self) -> Sort {
        match self {
            Self::Password => Sort::Known,
            Self::Totp | Self::BackupCode | Self::TrustedDevice => Sort::Held,
        }
    }

    /// As in the claim `amr` (RFC 8176); none for what was not proved this time.
    const fn reference(self) -> Option<&'static str> {
        match self {
            Self::Password => Some("pwd"),
            Self::Totp | Self::BackupCode => Some("otp"),
            Self::TrustedDevice => None,
        }
    }
}

/// The methods that were proved, in the order of their proof: each of another sort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Methods(Vec<Method>);

impl Methods {
    /// The first one.
    pub(crate) fn of(method: Method) -> Self {
        Self(vec![method])
    }

    /// With another one; none where it is of a sort that was proved before.
    pub(crate) fn and(&self, method: Method) -> Option<Self> {
        if self.0.iter().any(|proved| proved.sort() == method.sort()) {
            return None;
        }
        Some(Self([self.0.as_slice(), &[method]].concat()))
    }

    /// What is proved where one of them was proved again. What the person holds was proved at some
    /// time before where only what the person knows is proved now: it counts no more.
    pub(crate) fn renewed(&self, method: Method) -> Self {
        let known = self.0.iter().copied().filter(|proved| proved.sort() == Sort::Known);
        match method.sort() {
            Sort::Known => Self::of(method),
            Sort::Held => Self(known.chain([method]).collect()),
        }
    }

    /// Those of `methods` that would count beside these.
    pub(crate) fn beside(&self, methods: &[Method]) -> Vec<Method> {
        methods.iter().copied().filter(|method| self.and(*method).is_some()).collect()
    }

    /// Whether more than one sort was proved.
    #[must_use]
    pub fn are_two(&self) -> bool {
        self.0.len() > 1
    }

    /// For the claim `amr` (RFC 8176).
    #[must_use]
    pub fn references(&self) -> Vec<String> {
        let mut proved: Vec<&str> = self.0.iter().filter_map(|method| method.reference()).collect();
        if proved.len() > 1 {
            proved.push("mfa");
        }
        proved.into_iter().map(str::to_owned).collect()
    }

    /// For the claim `acr`: the assurance level that the sign-in reaches (NIST SP 800-63B). A device
    /// that was trusted before proves nothing now.
    #[must_use]
    pub fn level(&self) -> &'static str {
        let proved = self.0.iter().filter(|method| method.reference().is_some());
        if proved.count() > 1 { "aal2" } else { "aal1" }
    }

    /// Reads what was stored; a session from before methods were stored had the password alone.
    pub(crate) fn read(text: Option<&str>) -> Self {
        let words = text.unwrap_or_default().split(' ');
        let methods: Vec<Method> = words.filter_map(Method::parse).collect();
        if methods.is_empty() { Self::of(Method::Password) } else { Self(methods) }
    }
}

/// As stored: words with blanks between.
impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.0.iter().map(|method| method.as_str()).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sort_counts_twice() {
        for first in Method::ALL {
            for second in Method::ALL {
                let both = Methods::of(*first).and(*second);
                assert_eq!(both.is_some(), first.sort() != second.sort(), "{first} {second}");
                let Some(both) = both else { continue };
                let is_trusted = [first, second].contains(&&Method::TrustedDevice);
                assert_eq!(both.level(), if is_trusted { "aal1" } else { "aal2" });
                for third in Method::ALL {
                    assert_eq!(both.and(*third), None);
                }
            }
        }
    }

    #[test]
    fn what_is_stored_is_read() {
        let both = Methods::of(Method::Password).and(Method::Totp).unwrap();
        assert_eq!(both.to_string(), "password totp");
        assert_eq!(Methods::read(Some("password totp")), both);
        assert_eq!(both.references(), ["pwd", "otp", "mfa"]);
        let renewed = both.renewed(Method::BackupCode);
        assert_eq!(renewed.to_string(), "password backup_code");
        assert_eq!(renewed.renewed(Method::Password), Methods::of(Method::Password));
        let trusted = Methods::of(Method::Password).and(Method::TrustedDevice).unwrap();
        assert_eq!((trusted.references(), trusted.level()), (vec!["pwd".to_owned()], "aal1"));
        for old in [None, Some(""), Some("nothing known")] {
            assert_eq!(Methods::read(old), Methods::of(Method::Password));
            assert_eq!(Methods::read(old).level(), "aal1");
        }
    }
}
