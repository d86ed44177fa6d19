//! What it costs to ask whether a password leaked.

use std::hint::black_box;
use std::path::Path;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use criterion::{Criterion, criterion_group, criterion_main};
use identity::{Breached, ListForm, build_breached};

#[expect(clippy::unwrap_used, reason = "a benchmark may stop at the first error")]
fn made(dir: &Path, words: u64) -> Breached {
    use std::fmt::Write as _;
    let (list, to) = (dir.join("list"), dir.join(format!("leaks-{words}")));
    let mut text = String::new();
    for word in 0..words {
        writeln!(text, "a leaked one, {word}").unwrap();
    }
    std::fs::write(&list, text).unwrap();
    build_breached(&[(&list, ListForm::Plain)], &to, &mut |_| {}).unwrap();
    Breached::open(&to).unwrap()
}

#[expect(clippy::unwrap_used, reason = "a benchmark may stop at the first error")]
fn breached(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    c.bench_function("control: SHA-1 of a password", |b| {
        b.iter(|| digest(&SHA1_FOR_LEGACY_USE_ONLY, black_box(b"a leaked one, 12345")));
    });
    for words in [10_000, 100_000, 1_000_000] {
        let leaks = made(dir.path(), words);
        c.bench_function(&format!("of {words}"), |b| {
            b.iter(|| leaks.contains(black_box("a leaked one, 1234")).unwrap());
        });
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(50); targets = breached }
criterion_main!(benches);
