//! The crates and who imports whom, as cargo resolves them for Linux on x86-64 with the lock file
//! as it is. Floors, bans, licences, duplicates and the bill of materials all read this one graph.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use crate::house::House;

/// The platform that the graph is resolved for; others pull in crates that we never ship.
pub(crate) const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// One of our crates imports another crate.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    /// Our crate.
    pub(crate) from: String,
    /// The crate it imports: ours, or one from outside.
    pub(crate) to: String,
    /// For tests only.
    pub(crate) dev: bool,
}

/// The resolved crates.
#[derive(Debug)]
pub(crate) struct Graph {
    metadata: Metadata,
    imports: BTreeMap<PackageId, Vec<(PackageId, bool)>>,
}

impl Graph {
    /// Asks cargo.
    ///
    /// # Errors
    /// Where a manifest or the lock file does not stand.
    pub(crate) fn read(house: &House) -> Result<Self> {
        let mut args = vec!["metadata", "--format-version", "1", "--filter-platform", PLATFORM];
        if house.ci {
            args.push("--locked");
        }
        Self::parse(&house.output(house.cargo(&args))?)
    }

    /// Reads what `cargo metadata` printed.
    ///
    /// # Errors
    /// Where it is no such text.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let metadata = MetadataCommand::parse(text)?;
        let resolve = metadata.resolve.as_ref().context("cargo metadata resolved nothing")?;
        let imports = resolve
            .nodes
            .iter()
            .map(|node| {
                let to = node.deps.iter().map(|dep| {
                    let dev = dep.dep_kinds.iter().all(|k| k.kind == DependencyKind::Development);
                    (dep.pkg.clone(), dev)
                });
                (node.id.clone(), to.collect())
            })
            .collect();
        Ok(Self { metadata, imports })
    }

    /// The names of our own crates.
    pub(crate) fn members(&self) -> Vec<String> {
        self.metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect()
    }

    /// Our own crates.
    pub(crate) fn own(&self) -> Vec<&Package> {
        self.metadata.workspace_packages()
    }

    /// What our crates import themselves.
    pub(crate) fn direct(&self) -> Vec<Dependency> {
        let mut edges = Vec::new();
        for package in self.metadata.workspace_packages() {
            for dependency in &package.dependencies {
                edges.push(Dependency {
                    from: package.name.to_string(),
                    to: dependency.name.clone(),
                    dev: dependency.kind == DependencyKind::Development,
                });
            }
        }
        edges
    }

    /// What this crate of ours is built from, itself included, without tests.
    pub(crate) fn shipped(&self, names: &[String]) -> BTreeSet<PackageId> {
        let mut waiting: Vec<PackageId> = self
            .metadata
            .workspace_packages()
            .iter()
            .filter(|package| names.contains(&package.name.to_string()))
            .map(|package| package.id.clone())
            .collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = waiting.pop() {
            if seen.insert(id.clone()) {
                waiting.extend(self.imports_of(&id));
            }
        }
        seen
    }

    /// What a crate imports, without tests.
    pub(crate) fn imports_of(&self, id: &PackageId) -> Vec<PackageId> {
        let imports = self.imports.get(id).map(Vec::as_slice).unwrap_or_default();
        imports.iter().filter(|(_, dev)| !dev).map(|(to, _)| to.clone()).collect()
    }

    /// The packages of these ids, by name and version.
    pub(crate) fn packages(&self, ids: &BTreeSet<PackageId>) -> Vec<&Package> {
        let mut found: Vec<&Package> =
            self.metadata.packages.iter().filter(|package| ids.contains(&package.id)).collect();
        found.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        found
    }
}
