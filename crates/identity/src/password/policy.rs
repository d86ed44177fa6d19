//! Which passwords are taken (NIST SP 800-63B section 5.1.1.2): length and not guessable, nothing
//! about kinds of characters, nothing that expires.
//!
//! A password that an attacker tries among the first is refused: common words with the usual
//! ornaments, runs of keys and letters, repetition, the person's own address, the shop's name. The
//! list is our own and small: it is a floor, not a breach database.

use kernel::{FieldProblem, Secret};
use unicode_normalization::UnicodeNormalization as _;

use super::common;
use crate::email::Email;

/// The fewest characters (Unicode scalar values after normalisation).
pub const PASSWORD_CHARS_MIN: usize = 10;
/// The most characters.
pub const PASSWORD_CHARS_MAX: usize = 128;
/// The most bytes that are read at all, before anything else is done with them.
const PASSWORD_BYTES_MAX: usize = 1_024;

/// Rows of keys and the alphabet: any run of them, forwards or backwards, is a guess.
const RUNS: &[&str] = &[
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "qazwsxedcrfvtgbyhnujmikolp",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
    "zxcvbnmasdfghjklqwertyuiop",
];

/// A password in its normal form (NFC), ready to be hashed: one that is typed on a phone and on a
/// desk is the same.
pub(crate) struct Password(Secret<String>);

impl Password {
    /// Normalises what a person typed, for comparison. Nothing is judged but its size.
    ///
    /// # Errors
    /// A [`FieldProblem`] for `field` where more than [`PASSWORD_BYTES_MAX`] bytes came.
    pub(crate) fn typed(field: &'static str, typed: &Secret<String>) -> Result<Self, FieldProblem> {
        if typed.expose().len() > PASSWORD_BYTES_MAX {
            return Err(too_long(field));
        }
        Ok(Self(Secret::new(typed.expose().nfc().collect())))
    }

    /// Takes a new password, if it is long enough and no easy guess.
    ///
    /// # Errors
    /// A [`FieldProblem`] for `field` that says why not and what would do.
    pub(crate) fn chosen(
        field: &'static str,
        typed: &Secret<String>,
        about: &About<'_>,
    ) -> Result<Self, FieldProblem> {
        let password = Self::typed(field, typed)?;
        let chars = password.expose().chars().count();
        if chars < PASSWORD_CHARS_MIN {
            return Err(FieldProblem {
                field: field.into(),
                detail: format!(
                    "The password needs at least {PASSWORD_CHARS_MIN} characters; a few words in a \
                     row do well."
                ),
            });
        }
        if chars > PASSWORD_CHARS_MAX {
            return Err(too_long(field));
        }
        if password.expose().chars().any(char::is_control) {
            return Err(FieldProblem {
                field: field.into(),
                detail: "The password has a character that cannot be typed again.".to_owned(),
            });
        }
        match guess(password.expose(), about) {
            None => Ok(password),
            Some(why) => Err(FieldProblem::new(field, why.told())),
        }
    }

    /// The normal form itself.
    #[must_use]
    pub(crate) fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// What an attacker knows of the person beforehand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    /// The address.
    pub email: &'a Email,
    /// The shop's name.
    pub site: &'a str,
}

fn too_long(field: &'static str) -> FieldProblem {
    FieldProblem {
        field: field.into(),
        detail: format!("The password may have at most {PASSWORD_CHARS_MAX} characters."),
    }
}

/// Why a password is an easy guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guess {
    Common,
    Run,
    Repeated,
    Personal,
}

impl Guess {
    const fn told(self) -> &'static str {
        match self {
            Self::Common => "The password is among the first that attackers try. Take another.",
            Self::Run => "The password is a run of keys or letters. Take another.",
            Self::Repeated => "The password repeats one small part. Take another.",
            Self::Personal => {
                "The password is made of your address or the shop's name. Take another."
            }
        }
    }
}

/// Judges the bare core of the password: lower case, the usual digits-for-letters read back,
/// without the ornaments (digits and signs) that people put at either end.
fn guess(password: &str, about: &About<'_>) -> Option<Guess> {
    let lower: Vec<char> = password.chars().flat_map(char::to_lowercase).collect();
    if repeats(&lower) {
        return Some(Guess::Repeated);
    }
    let text: String = lower.iter().collect();
    let core = plain(text.trim_matches(|c: char| !c.is_alphabetic()));
    let read: String = plain(&text).chars().filter(|c| c.is_alphanumeric()).collect();
    if runs(&text) {
        return Some(Guess::Run);
    }
    let letters: String = core.chars().filter(|c| c.is_alphabetic()).collect();
    if is_common(&letters) || is_common(&read) {
        return Some(Guess::Common);
    }
    let site: String = about.site.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    let local: String = about.email.local().chars().filter(|c| c.is_alphanumeric()).collect();
    let personal = |name: &str| {
        name.chars().count() >= 4 && (letters == name || read == name || rest_is_small(&read, name))
    };
    (personal(&site) || personal(&local) || text == about.email.normal()).then_some(Guess::Personal)
}

/// The digits and signs that stand for letters, read back.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '0' => 'o',
            '1' | '!' => 'i',
            '3' => 'e',
            '4' | '@' => 'a',
            '5' | '$' => 's',
            '7' => 't',
            other => other,
        })
        .collect()
}

/// One or two common words, with at most four characters more.
fn is_common(text: &str) -> bool {
    common::words().any(|word| {
        text == word
            || rest_is_small(text, word)
            || text.strip_prefix(word).is_some_and(|rest| common::words().any(|word| word == rest))
    })
}

/// Whether `text` is `word` and at most four characters before or after it.
fn rest_is_small(text: &str, word: &str) -> bool {
    let rest = text.strip_prefix(word).or_else(|| text.strip_suffix(word));
    rest.is_some_and(|rest| rest.chars().count() <= 4)
}

/// Whether the whole is one unit of at most a third of it, over and over (`abcabcabcabc`).
fn repeats(chars: &[char]) -> bool {
    (1..=chars.len() / 3)
        .any(|unit| chars.iter().zip(chars.iter().skip(unit)).all(|(left, right)| left == right))
}

/// Whether runs of five or more keys cover all but three characters.
fn runs(text: &str) -> bool {
    const RUN_CHARS: usize = 5;
    let chars: Vec<char> = text.chars().collect();
    let backwards: Vec<String> = RUNS.iter().map(|run| run.chars().rev().collect()).collect();
    let is_run = |part: &str| {
        RUNS.iter().any(|run| run.contains(part)) || backwards.iter().any(|run| run.contains(part))
    };
    let mut covered = vec![false; chars.len()];
    for (start, window) in chars.windows(RUN_CHARS).enumerate() {
        let part: String = window.iter().collect();
        if is_run(&part) {
            covered.iter_mut().skip(start).take(RUN_CHARS).for_each(|cell| *cell = true);
        }
    }
    let bare = covered.iter().filter(|cell| !**cell).count();
    bare <= 3 && bare < chars.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(text: &str) -> Result<Password, FieldProblem> {
        let email = Email::parse("margaret.hamilton@example.org").unwrap();
        let about = About { email: &email, site: "Lantern Market" };
        Password::chosen("password", &Secret::new(text.to_owned()), &about)
    }

    #[test]
    fn easy_guesses_are_refused() {
        let cases = [
            "Password123!",
            "p@ssw0rd2026",
            "P455w0rd!!",
            "qwertyuiop",
            "1q2w3e4r5t",
            "1234567890",
            "0987654321",
            "aaaaaaaaaaaa",
            "abcabcabcabc",
            "abcdefghij",
            "iloveyou2026",
            "letmein!!!!",
            "adminadmin",
            "margarethamilton",
            "MargaretHamilton1",
            "lanternmarket",
            "LanternMarket26!",
            "welcomewelcome",
            "sunshine12",
            "superman99",
            "zyxwvutsrq",
            "margaret.hamilton@example.org",
            "correcthorsebatterystaple",
            "football1!",
            "1qaz2wsx3edc",
        ];
        for case in cases {
            assert!(taken(case).is_err(), "{case}");
        }
    }

    #[test]
    fn good_ones_are_taken() {
        let cases = [
            "tin lamp over the quay",
            "x7Kd-92mPq",
            "Zwölf Boxkämpfer jagen",
            "пароль из трёх слов",
            "password manager made me this one",
            "8c6976e5b5410415",
            "ocean-kettle-violet",
        ];
        for case in cases {
            assert!(taken(case).is_ok(), "{case}");
        }
    }

    #[test]
    fn length_is_counted_in_characters() {
        assert!(taken("ÄÖÜ-öäü-ß").is_err());
        assert!(taken("ÄÖÜ-öäü-ßé").is_ok());
        assert!(
            taken(&"xk".repeat(2).chars().chain("é ".repeat(62).chars()).collect::<String>())
                .is_ok()
        );
        assert!(taken(&"word ".repeat(26)).is_err());
        assert!(taken(&"w".repeat(2_000)).is_err());
    }

    proptest! {
        // the same text from a keyboard that composes and one that does not
        #[test]
        fn composed_and_decomposed_are_one(text in "[a-zäöüéñ ]{10,40}") {
            let composed = Secret::new(text.nfc().collect::<String>());
            let split = Secret::new(text.nfd().collect::<String>());
            let left = Password::typed("password", &composed).unwrap();
            let right = Password::typed("password", &split).unwrap();
            prop_assert_eq!(left.expose(), right.expose());
        }

        #[test]
        fn any_text_is_judged_without_panic(text in "\\PC{0,200}") {
            let _ = taken(&text);
        }

        #[test]
        fn ornaments_do_not_save_a_common_word(
            word in prop::sample::select(common::words().collect::<Vec<_>>()),
            digits in "[0-9]{2,4}", sign in "[!?.]{0,1}",
        ) {
            let text = format!("{word}{digits}{sign}");
            prop_assert!(text.len() < PASSWORD_CHARS_MIN || taken(&text).is_err());
        }
    }
}
