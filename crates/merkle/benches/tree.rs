//! What appending, proving and checking cost in a log of a million entries. Run with
//! `cargo bench -p merkle`; compare ratios in one run, not times between machines.
#![expect(clippy::unwrap_used, reason = "a benchmark may stop at the first error")]

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use merkle::export::{ExportDir, ExportRules, verify_export};
use merkle::key::{KeyKind, SeedSigner};
use merkle::tile::encode_bundle;
use merkle::{
    Checkpoint, CompactRange, Hash, Policy, Resource, TileId, TileMap, TlogProof, grow, leaf_hash,
    prove_consistency, prove_inclusion, verify_consistency, verify_inclusion,
};

const MILLION: u64 = 1_000_000;
const BATCH: usize = 1_000;

fn leaves() -> Vec<Hash> {
    (0..MILLION).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

fn tree(leaves: &[Hash]) -> (CompactRange, TileMap) {
    let (mut range, mut map) = (CompactRange::new(), TileMap::new());
    for batch in leaves.chunks(BATCH) {
        let growth = grow(&range, batch, &map).unwrap();
        map.extend(growth.tiles);
        range = growth.range;
    }
    (range, map)
}

fn append(c: &mut Criterion) {
    let leaves = leaves();
    let mut group = c.benchmark_group("append 1M");
    group.sample_size(10).throughput(Throughput::Elements(MILLION));
    group.bench_function("leaf hashes of 200 B", |b| {
        let entry = [7_u8; 200];
        b.iter(|| (0..MILLION).for_each(|_| _ = black_box(leaf_hash(black_box(&entry)))));
    });
    group.bench_function("frontier", |b| {
        b.iter(|| leaves.iter().copied().collect::<CompactRange>().root());
    });
    group.bench_function("frontier and tiles, batches of 1000", |b| b.iter(|| tree(&leaves)));
    group.finish();
}

fn prove_and_verify(c: &mut Criterion) {
    let leaves = leaves();
    let (range, map) = tree(&leaves);
    let root = range.root();
    let mut index = 0_u64;
    let mut next = || {
        index = (index + 611_953) % MILLION;
        index
    };
    let mut group = c.benchmark_group("1M tree");
    group.bench_function("prove inclusion", |b| {
        b.iter(|| prove_inclusion(&map, next(), MILLION).unwrap());
    });
    group.bench_function("prove consistency", |b| {
        b.iter(|| prove_consistency(&map, 1 + next(), MILLION).unwrap());
    });
    let proof = prove_inclusion(&map, 611_953, MILLION).unwrap();
    let leaf = leaf_hash(&611_953_u64.to_be_bytes());
    group.bench_function("verify inclusion", |b| {
        b.iter(|| verify_inclusion(&leaf, 611_953, MILLION, black_box(&proof), &root).unwrap());
    });
    let old = merkle::root_at(&map, 611_953).unwrap();
    let growth = prove_consistency(&map, 611_953, MILLION).unwrap();
    group.bench_function("verify consistency", |b| {
        b.iter(|| verify_consistency(611_953, MILLION, black_box(&growth), &old, &root).unwrap());
    });
    let key = SeedSigner::new("shop.example/log", KeyKind::Ed25519, &[1; 32]).unwrap();
    let policy = Policy::new(vec![key.verifier().clone()]).unwrap();
    let tree = Checkpoint::new("shop.example/log", MILLION, root).unwrap();
    let checkpoint = tree.sign(&key).unwrap();
    let file = TlogProof { extra: None, index: 611_953, proof, checkpoint }.to_string();
    group.bench_function("parse and verify tlog-proof", |b| {
        b.iter_batched(
            || file.as_bytes(),
            |file| TlogProof::parse(file).unwrap().verify_leaf(&leaf, &policy).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

struct Files(BTreeMap<String, Vec<u8>>);

impl ExportDir for Files {
    fn read(&self, path: &str, _: usize) -> Result<Option<Vec<u8>>, String> {
        Ok(self.0.get(path).cloned())
    }
}

fn check_export(c: &mut Criterion) {
    let entry = |i: u64| [i.to_be_bytes(); 25].concat();
    let leaves: Vec<_> = (0..MILLION).map(|i| leaf_hash(&entry(i))).collect();
    let growth = grow(&CompactRange::new(), &leaves, &TileMap::new()).unwrap();
    let mut files: BTreeMap<_, _> =
        growth.tiles.into_iter().map(|tile| (Resource::Tile(tile.id).path(), tile.bytes)).collect();
    for id in TileId::all(MILLION).take_while(|id| id.level() == 0) {
        let first = id.first_leaf(0);
        let entries: Vec<_> = (first..first + u64::from(id.width())).map(entry).collect();
        files.insert(Resource::Entries(id).path(), encode_bundle(&entries).unwrap());
    }
    let key = SeedSigner::new("shop.example/log", KeyKind::Ed25519, &[1; 32]).unwrap();
    let policy = Policy::new(vec![key.verifier().clone()]).unwrap();
    let tree = Checkpoint::new("shop.example/log", MILLION, growth.range.root()).unwrap();
    files.insert("checkpoint".to_owned(), tree.sign(&key).unwrap().to_string().into_bytes());
    let files = Files(files);
    let mut group = c.benchmark_group("1M export");
    group.sample_size(10).throughput(Throughput::Elements(MILLION));
    group.bench_function("check every entry, tile and root", |b| {
        b.iter(|| verify_export(&files, &policy, &ExportRules::default(), &mut |_| {}).unwrap());
    });
    group.finish();
}

criterion_group!(benches, append, prove_and_verify, check_export);
criterion_main!(benches);
