//! The software bill of materials: what `stagedoor` is built from, as CycloneDX 1.5 JSON, so that
//! a shop can match it against advisories. Written from `cargo metadata` and the lock file's
//! checksums; no clock and no random serial number, so that the same sources give the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{Package, PackageId};
use serde_json::{Value, json};

use crate::graph::Graph;
use crate::house::House;

/// The step: writes `sbom.cdx.json` into the target folder and holds it against the format.
///
/// # Errors
/// Where the graph cannot be read, or the bill would not stand as CycloneDX.
pub(crate) fn write(house: &House) -> Result<String> {
    let graph = Graph::read(house)?;
    let lock = std::fs::read_to_string(house.root.join("Cargo.lock")).context("Cargo.lock")?;
    let bill = bill(&graph, &checksums(&lock)?)?;
    validate(&bill)?;
    std::fs::create_dir_all(&house.target)?;
    let path = house.target.join("sbom.cdx.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&bill)?)?;
    let count = bill.get("components").and_then(Value::as_array).map_or(0, Vec::len);
    Ok(format!("{count} components in {}", path.display()))
}

fn bill(graph: &Graph, checksums: &BTreeMap<(String, String), String>) -> Result<Value> {
    let shipped = graph.shipped(&["stagedoor".to_owned()]);
    let packages = graph.packages(&shipped);
    let main = packages.iter().find(|package| package.name.as_str() == "stagedoor");
    let main = main.context("the workspace has no crate `stagedoor`")?;
    let refs: BTreeMap<&PackageId, String> =
        packages.iter().map(|package| (&package.id, purl(package))).collect();
    let others = packages.iter().filter(|package| package.id != main.id);
    let components: Vec<Value> = others.map(|package| component(package, checksums)).collect();
    let dependencies: Vec<Value> = packages
        .iter()
        .map(|package| {
            let imports = graph.imports_of(&package.id);
            let on: BTreeSet<&String> = imports.iter().filter_map(|id| refs.get(id)).collect();
            json!({ "ref": purl(package), "dependsOn": on })
        })
        .collect();
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": {
            "type": "application",
            "bom-ref": purl(main),
            "name": main.name.as_str(),
            "version": main.version.to_string(),
            "licenses": licences(main),
        } },
        "components": components,
        "dependencies": dependencies,
    }))
}

fn component(package: &Package, checksums: &BTreeMap<(String, String), String>) -> Value {
    let mut value = json!({
        "type": "library",
        "bom-ref": purl(package),
        "name": package.name.as_str(),
        "version": package.version.to_string(),
        "purl": purl(package),
        "licenses": licences(package),
    });
    let key = (package.name.to_string(), package.version.to_string());
    if let (Some(checksum), Some(fields)) = (checksums.get(&key), value.as_object_mut()) {
        fields.insert("hashes".to_owned(), json!([{ "alg": "SHA-256", "content": checksum }]));
    }
    value
}

/// The package's URL (purl, type `cargo`).
fn purl(package: &Package) -> String {
    // build metadata's `+` must be escaped in a purl
    let version = package.version.to_string().replace('+', "%2B");
    format!("pkg:cargo/{}@{version}", package.name)
}

fn licences(package: &Package) -> Value {
    match &package.license {
        Some(expression) => json!([{ "expression": expression.replace('/', " OR ") }]),
        None => json!([]),
    }
}

fn checksums(lock: &str) -> Result<BTreeMap<(String, String), String>> {
    let table: toml::Table = lock.parse().context("Cargo.lock")?;
    let packages = table.get("package").and_then(toml::Value::as_array);
    let mut found = BTreeMap::new();
    for package in packages.context("Cargo.lock lists no package")? {
        let text = |key| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        if let (Some(name), Some(version), Some(sum)) =
            (text("name"), text("version"), text("checksum"))
        {
            found.insert((name, version), sum);
        }
    }
    Ok(found)
}

/// Holds a bill against what the CycloneDX 1.5 schema demands of the parts that we write, and
/// against what it cannot say: each reference meets a component.
fn validate(bill: &Value) -> Result<()> {
    let text = |value: &Value, key: &str| {
        let found = value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        found.map(str::to_owned).with_context(|| format!("`{key}` is missing in {value}"))
    };
    if text(bill, "bomFormat")? != "CycloneDX" || text(bill, "specVersion")? != "1.5" {
        bail!("not CycloneDX 1.5");
    }
    let main = bill.pointer("/metadata/component").context("metadata.component is missing")?;
    let components = bill.get("components").and_then(Value::as_array).context("components")?;
    let mut refs = BTreeSet::new();
    for component in components.iter().chain([main]) {
        if !["application", "library"].contains(&text(component, "type")?.as_str()) {
            bail!("an unknown type of component: {component}");
        }
        text(component, "name")?;
        text(component, "version")?;
        let reference = text(component, "bom-ref")?;
        if !reference.starts_with("pkg:cargo/") || !refs.insert(reference.clone()) {
            bail!("`{reference}` is no purl, or stands twice");
        }
        for hash in component.get("hashes").and_then(Value::as_array).into_iter().flatten() {
            let content = text(hash, "content")?;
            if content.len() != 64 || !content.bytes().all(|b| b.is_ascii_hexdigit()) {
                bail!("`{content}` is no SHA-256");
            }
        }
    }
    let dependencies =
        bill.get("dependencies").and_then(Value::as_array).context("dependencies")?;
    for dependency in dependencies {
        let on = dependency.get("dependsOn").and_then(Value::as_array).into_iter().flatten();
        let on: Vec<String> = on.filter_map(Value::as_str).map(str::to_owned).collect();
        for reference in on.into_iter().chain([text(dependency, "ref")?]) {
            if !refs.contains(&reference) {
                bail!("`{reference}` is depended on and is no component");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Value {
        json!({
            "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
            "metadata": { "component": {
                "type": "application", "bom-ref": "pkg:cargo/a@1", "name": "a", "version": "1",
            } },
            "components": [{
                "type": "library", "bom-ref": "pkg:cargo/b@2", "name": "b", "version": "2",
                "hashes": [{ "alg": "SHA-256", "content": "0".repeat(64) }],
            }],
            "dependencies": [{ "ref": "pkg:cargo/a@1", "dependsOn": ["pkg:cargo/b@2"] }],
        })
    }

    #[test]
    fn a_bill_that_stands_is_taken_and_each_flaw_is_found() {
        validate(&good()).unwrap();
        for (place, flaw) in [
            ("/specVersion", json!("1.4")),
            ("/components/0/bom-ref", json!("pkg:cargo/a@1")),
            ("/components/0/bom-ref", json!("b")),
            ("/components/0/type", json!("libary")),
            ("/components/0/name", json!("")),
            ("/components/0/hashes/0/content", json!("00")),
            ("/dependencies/0/dependsOn/0", json!("pkg:cargo/c@3")),
            ("/dependencies/0/ref", json!("pkg:cargo/c@3")),
        ] {
            let mut bill = good();
            *bill.pointer_mut(place).unwrap() = flaw;
            assert!(validate(&bill).is_err(), "{place}");
        }
    }

    #[test]
    fn the_house_s_own_bill_stands() {
        let house = House::find().unwrap();
        let graph = Graph::read(&house).unwrap();
        let lock = std::fs::read_to_string(house.root.join("Cargo.lock")).unwrap();
        let bill = bill(&graph, &checksums(&lock).unwrap()).unwrap();
        validate(&bill).unwrap();
        let components = bill["components"].as_array().unwrap();
        let serde = components.iter().find(|c| c["name"] == "serde").unwrap();
        assert_eq!(serde["hashes"][0]["alg"], "SHA-256");
        assert!(components.iter().all(|c| c["name"] != "proptest"), "tests are not shipped");
    }
}
