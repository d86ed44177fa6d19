//! `cargo xtask room NAME NOUN ID`: a new room from the example, under names of its own and with a
//! number that nobody has. It builds and passes its tests as it is made; what it shall do is then
//! written in place of wishes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::house::House;

const EXAMPLE: &str = "examples/wishes";
/// Words that a room's own files use for things of the house: a noun of the same name would hide
/// them.
const TAKEN: [&str; 16] = [
    "about", "account", "actor", "caller", "consumer", "cursor", "error", "event", "form", "json",
    "page", "path", "place", "row", "session", "subject",
];
/// The first number that new rooms take.
const FIRST_NUMBER: u32 = 10;

/// Makes the room. Gives what is left to do.
pub(crate) fn make(house: &House, words: &[String]) -> Result<String> {
    let [name, noun, id] = words else {
        bail!("cargo xtask room NAME NOUN ID, as in: room waitlist spot spt");
    };
    for (what, word) in [("name", name), ("noun", noun)] {
        let fits = (2..=20).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase());
        ensure!(fits, "the {what} `{word}` must be one word of 2 to 20 letters a-z");
    }
    ensure!(!TAKEN.contains(&noun.as_str()), "the house has a `{noun}`: take another noun");
    ensure!(name != noun, "name and noun must differ: the room `wishes` keeps each `wish`");
    ensure!(
        id.len() == 3 && id.bytes().all(|byte| byte.is_ascii_lowercase()),
        "the prefix of ids `{id}` must be three letters a-z"
    );
    let folder = house.root.join("crates").join(name);
    ensure!(!folder.exists(), "crates/{name} is there already");
    let sources = rust_files(&house.root)?;
    ensure!(!sources.contains(&format!(" = \"{id}\";")), "ids with the prefix `{id}` exist");
    let number = free_number(&sources);

    let names = Names { name, noun, id, number };
    copy(&house.root.join(EXAMPLE), &folder, &names)?;
    insert(
        &house.root.join("Cargo.toml"),
        "watch = {",
        &format!("{name} = {{ path = \"crates/{name}\" }}\n"),
    )?;
    insert(
        &house.root.join("xtask/src/floors.rs"),
        "    (\"watch\", Floor::Room),",
        &format!("    (\"{name}\", Floor::Room),\n"),
    )?;
    // names of another length wrap elsewhere
    house.run(house.command("cargo", &["fmt", "-p", name]))?;
    Ok(format!(
        "crates/{name} is made, with the number {number}: `cargo nextest run --workspace -E \
         'package({name})'` passes. Go on with step 3 of docs/ADDING-A-ROOM.md, and wire it (step 10)."
    ))
}

struct Names<'a> {
    name: &'a str,
    noun: &'a str,
    id: &'a str,
    number: u32,
}

impl Names<'_> {
    /// A text of the example under the room's names.
    fn rename(&self, text: &str) -> String {
        let Self { name, noun, id, number } = self;
        text.replace("Wishes", &capital(name))
            .replace("wishes", name)
            .replace("Wish", &capital(noun))
            .replace("wish", noun)
            .replace("WISH", &noun.to_uppercase())
            .replace("\"wsh\"", &format!("\"{id}\""))
            .replace("wsh_", &format!("{id}_"))
            .replace("number: 90,", &format!("number: {number},"))
            .replace("version: 900_001", &format!("version: {number}0_001"))
            .replace("../../crates/web/templates", "../web/templates")
            .replace("the example room of docs/ADDING-A-ROOM.md", &format!("the room {name}"))
    }
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

fn copy(from: &Path, to: &Path, names: &Names<'_>) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("{}", to.display()))?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let target = to.join(names.rename(name));
        if path.is_dir() {
            copy(&path, &target, names)?;
        } else {
            fs::write(&target, names.rename(&fs::read_to_string(&path)?))?;
        }
    }
    Ok(())
}

/// Puts lines before the line that begins with `mark`.
fn insert(file: &Path, mark: &str, lines: &str) -> Result<()> {
    let text = fs::read_to_string(file)?;
    let at = text.find(&format!("\n{mark}"));
    let at = at.with_context(|| format!("{} has no line `{mark}`", file.display()))? + 1;
    let (before, after) = text.split_at(at);
    fs::write(file, format!("{before}{lines}{after}"))?;
    Ok(())
}

/// The text of every Rust file of the rooms.
fn rust_files(root: &Path) -> Result<String> {
    let mut folders: Vec<PathBuf> = vec![root.join("crates"), root.join("examples")];
    let mut all = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&fs::read_to_string(&path)?);
            }
        }
    }
    Ok(all)
}

/// The first number from [`FIRST_NUMBER`] on that no room has.
fn free_number(sources: &str) -> u32 {
    let taken = |number: &u32| sources.contains(&format!("\n    number: {number},\n"));
    (FIRST_NUMBER..).find(|number| !taken(number)).unwrap_or(FIRST_NUMBER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_renamed() {
        let names = Names { name: "waitlist", noun: "place", id: "plc", number: 12 };
        assert_eq!(
            names.rename("pub struct Wish { id: WishId } // wsh_"),
            "pub struct Place { id: PlaceId } // plc_"
        );
        assert_eq!(
            names.rename("wishes_wish: \"wishes.made\""),
            "waitlist_place: \"waitlist.made\""
        );
        assert_eq!(names.rename("number: 90,\nversion: 900_001"), "number: 12,\nversion: 120_001");
    }

    #[test]
    fn a_number_is_free() {
        assert_eq!(free_number("\n    number: 10,\n    number: 12,\n"), 11);
    }
}
