//! The recovery code: a random code on paper that wraps the root key a second time, for the day on
//! which the passphrase is lost. Who has the code and the folder has the root key, so it is kept
//! where the passphrase is not, and a new one makes the old one worthless.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use kernel::{Entropy, Secret};

use crate::config::Home;
use crate::error::Error;
use crate::files::replace_private;
use crate::root::SealedRoot;

/// The file beside the root key's.
pub(crate) const FILE: &str = "root.recovery";
/// Crockford's base 32: no letter looks like another.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 128 random bits, and letters that notice a mistyped one.
const RANDOM_CHARS: usize = 26;
const CHECK_CHARS: usize = 2;
const GROUP_CHARS: usize = 4;

/// Makes a recovery code and the file that it opens; an older code opens nothing from then on.
///
/// # Errors
/// [`Error::RootRefused`] for a wrong passphrase; [`Error::File`].
pub fn make_code(home: &Home, entropy: &dyn Entropy) -> Result<Secret<String>, Error> {
    let key = home.root.read_key()?;
    let mut random = [0; 16];
    entropy.fill(&mut random);
    let code = Secret::new(letters(u128::from_be_bytes(random)));
    zeroize::Zeroize::zeroize(&mut random);
    let sealed = SealedRoot::seal(&key, &code, entropy)?.to_text()?;
    replace_private(&file_of(home)?, sealed.as_bytes())?;
    Ok(Secret::new(grouped(code.expose())))
}

/// Opens the root key by the recovery code and seals it anew as the configuration says now: under
/// the passphrase that it names.
///
/// # Errors
/// [`Error::CodeRefused`]; [`Error::WeakPassphrase`]; [`Error::File`], also where no code was made.
pub fn recover(home: &Home, typed: &Secret<String>, entropy: &dyn Entropy) -> Result<(), Error> {
    let code = read(typed.expose())?;
    let file = file_of(home)?;
    let key = SealedRoot::read(&file)?.open(&file, &code).map_err(|error| match error {
        Error::RootRefused => Error::CodeRefused("it does not open this installation's root key"),
        other => other,
    })?;
    let root = home.root.file().ok_or(Error::Missing { what: "a root key in a file" })?;
    let text = home.root.file_text(&key, entropy)?;
    replace_private(root, text.expose().as_bytes())
}

fn file_of(home: &Home) -> Result<PathBuf, Error> {
    let root = home.root.file().ok_or(Error::Missing { what: "a root key in a file" })?;
    Ok(root.parent().unwrap_or(Path::new("")).join(FILE))
}

/// The random letters and the ones that check them.
fn letters(random: u128) -> String {
    let mut code = String::with_capacity(RANDOM_CHARS + CHECK_CHARS);
    for place in (0..RANDOM_CHARS).rev() {
        code.push(letter(u8::try_from((random >> (5 * place)) & 31).unwrap_or(0)));
    }
    let check = check(&code);
    code + &check
}

fn letter(five_bits: u8) -> char {
    char::from(ALPHABET.get(usize::from(five_bits & 31)).copied().unwrap_or(b'0'))
}

fn check(code: &str) -> String {
    let hash = digest(&SHA256, code.as_bytes());
    hash.as_ref().iter().take(CHECK_CHARS).map(|byte| letter(byte & 31)).collect()
}

fn grouped(code: &str) -> String {
    let letters: Vec<char> = code.chars().collect();
    let groups: Vec<String> =
        letters.chunks(GROUP_CHARS).map(|group| group.iter().collect()).collect();
    groups.join("-")
}

/// Reads a code as typed: in either case, with or without its dashes, O for 0, I and L for 1.
fn read(typed: &str) -> Result<Secret<String>, Error> {
    const LONGEST: usize = 200;
    let refused = |why| Err(Error::CodeRefused(why));
    let mut code = String::new();
    for typed in typed.chars().take(LONGEST) {
        match typed.to_ascii_uppercase() {
            '-' | ' ' | '\n' | '\r' | '\t' => {}
            'O' => code.push('0'),
            'I' | 'L' => code.push('1'),
            other if other.is_ascii() && ALPHABET.contains(&(other as u8)) => code.push(other),
            _ => return refused("it has a letter that no code has"),
        }
    }
    let code = Secret::new(code);
    if code.expose().len() != RANDOM_CHARS + CHECK_CHARS {
        return refused("a code has 28 letters and digits");
    }
    let (random, last) = code.expose().split_at(RANDOM_CHARS);
    if check(random) != last {
        return refused("a letter is mistyped");
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = letters(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        let shown = grouped(&code);
        assert_eq!(shown.len(), 28 + 6);
        for typed in
            [shown.clone(), shown.to_lowercase(), shown.replace('-', " ").replace('0', "o")]
        {
            assert_eq!(read(&typed).unwrap().expose(), &code, "{typed}");
        }
    }

    #[test]
    fn a_mistyped_letter_is_noticed() {
        let code = letters(42);
        let mut unnoticed = 0;
        for place in 0..code.len() {
            for other in ALPHABET {
                let mut typed = code.clone().into_bytes();
                typed[place] = *other;
                let typed = String::from_utf8(typed).unwrap();
                unnoticed += usize::from(typed != code && read(&typed).is_ok());
            }
        }
        // ten bits of check: about one of a thousand slips through, and opens nothing
        assert!(unnoticed < 10, "{unnoticed}");
        assert!(read(&code[1..]).is_err());
        assert!(read("what?").is_err());
    }
}
