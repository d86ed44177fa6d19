//! What sealing, opening, digests and a resolve that hits the cache cost.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kernel::{AccountId, SystemClock, SystemEntropy};
use vault::{Config, Home, Place, Root, Subject, Vault, Where};

const PLACE: Place<'static> =
    Place { table: "identity_account", column: "email_sealed", row: [7; 16] };

#[expect(clippy::unwrap_used, reason = "a benchmark may stop at the first error")]
fn seal(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::TempDir::new().unwrap();
    let vault = runtime.block_on(Vault::init(config(&dir))).unwrap();
    let subject = Subject::Account(AccountId::from_bytes([1; 16]));
    runtime.block_on(vault.create(subject)).unwrap();
    let plain = [42u8; 128];
    let sealed = vault.seal(subject, PLACE, &plain, &SystemEntropy).unwrap();
    let fetch = || runtime.block_on(vault.resolve(&[subject])).unwrap();
    c.bench_function("resolve hit", |b| b.iter(fetch));
    c.bench_function("seal 128 B", |b| {
        fetch();
        b.iter(|| vault.seal(subject, PLACE, black_box(&plain), &SystemEntropy).unwrap());
    });
    c.bench_function("open 128 B", |b| {
        fetch();
        b.iter(|| vault.open_sealed(subject, PLACE, black_box(&sealed)).unwrap());
    });
    c.bench_function("open 128 B of the house", |b| {
        let sealed = vault.seal(Subject::House, PLACE, &plain, &SystemEntropy).unwrap();
        b.iter(|| vault.open_sealed(Subject::House, PLACE, black_box(&sealed)).unwrap());
    });
    c.bench_function("blind 32 B", |b| b.iter(|| vault.blind("bench", black_box(&[1; 32]))));
    c.bench_function("control: the clock and 12 random bytes", |b| {
        b.iter(|| {
            let mut nonce = [0; 12];
            kernel::Entropy::fill(&SystemEntropy, &mut nonce);
            (kernel::Clock::now(&SystemClock), nonce)
        });
    });
}

/// What an epoch rotation costs for each subject key, on SQLite.
#[expect(clippy::unwrap_used, reason = "a benchmark may stop at the first error")]
fn rotate(c: &mut Criterion) {
    const SUBJECTS: u16 = 2_000;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::TempDir::new().unwrap();
    let vault = runtime.block_on(Vault::init(config(&dir))).unwrap();
    for number in 0..SUBJECTS {
        let mut id = [1; 16];
        let [high, low] = number.to_be_bytes();
        id.first_chunk_mut::<2>().unwrap().copy_from_slice(&[high, low]);
        runtime.block_on(vault.create(Subject::Account(AccountId::from_bytes(id)))).unwrap();
    }
    let mut group = c.benchmark_group("epoch rotation");
    group.sample_size(10).throughput(Throughput::Elements(u64::from(SUBJECTS)));
    group.bench_function("2,000 subject keys", |b| {
        b.iter(|| runtime.block_on(vault.rotate_epoch(&|_| ())).unwrap());
    });
    group.finish();
}

fn config(dir: &tempfile::TempDir) -> Config {
    Config::new(
        Where::Here(Home {
            folder: dir.path().join("keyholder/epochs"),
            root: Root::KeyFile { file: dir.path().join("keyholder/root.key") },
        }),
        format!("sqlite://{}/keys.db", dir.path().display()),
        Arc::new(SystemClock),
        Arc::new(SystemEntropy),
    )
}

criterion_group!(benches, seal, rotate);
criterion_main!(benches);
