//! Side-by-side measurements: each binary runs our part and its peer in one run, and prints ratios.
//!
//! Not a test: figures depend on the machine, ratios much less. `bench/README.md` lists the commands,
//! `docs/performance.md` the figures.
