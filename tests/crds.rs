//! `crds/` is what the types say. `UPDATE=1 cargo test --test crds` writes it anew.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and runs on the real clock")]

use std::path::Path;

#[test]
fn the_files_are_what_the_types_say() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    if std::env::var_os("UPDATE").is_some() {
        mailtenant_api::crds::write_dir(&dir).unwrap();
    }
    let wanted = mailtenant_api::crds::files().unwrap();
    let mut there: Vec<String> =
        std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    // It is for kustomize: tests/packaging.rs.
    there.retain(|name| name != "Kustomization");
    there.sort();
    let mut names: Vec<String> = wanted.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    assert_eq!(there, names, "crds/ has one file a kind: run `UPDATE=1 cargo test --test crds`");
    for (name, text) in wanted {
        let file = std::fs::read_to_string(dir.join(&name)).unwrap();
        assert!(file == text, "crds/{name} differs from the types: run `UPDATE=1 cargo test --test crds`");
    }
}

#[test]
fn every_kind_that_is_watched_has_a_crd_that_is_printed() {
    let watched = mailtenant_controllers::state::world::World::default().sizes();
    let mut watched: Vec<String> = watched.into_iter().map(|(kind, _)| kind.as_str().to_owned()).collect();
    watched.sort();
    let all = mailtenant_api::crds::all();
    let mut kinds: Vec<&str> = all.iter().map(|crd| crd["spec"]["names"]["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, watched, "src/api/crds.rs and with_kinds! have other kinds");
    let printed = mailtenant_api::crds::yaml().unwrap();
    assert_eq!(printed.matches("\nkind: CustomResourceDefinition\n").count(), kinds.len());
}

/// Lists that are written by hand. A new kind is forgotten in them, and then its tests say nothing.
#[test]
fn every_kind_is_in_the_lists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = vec![];
    for crd in mailtenant_api::crds::all() {
        let spec = &crd["spec"];
        let (kind, plural) = (spec["names"]["kind"].as_str().unwrap(), spec["names"]["plural"].as_str().unwrap());
        let declared = usize::from(spec["versions"][0]["subresources"]["status"].is_object());
        let of_tenants = declared * usize::from(spec["scope"] == "Namespaced");
        let (quoted, manifest) = (format!("\"{kind}\""), format!("\nkind: {kind}\n"));
        let resource = format!("\"{plural}\"");
        // How often it must stand there at least: once for each list in the file.
        for (file, word, times) in [
            ("e2e/harness/kubectl.rs", &quoted, 2 + of_tenants),
            ("tests/apiserver/shape.rs", &quoted, 2 + 4 * declared),
            ("tests/apiserver/manifests/good.yaml", &manifest, declared),
            ("tests/apiserver/manifests/bad.yaml", &manifest, declared),
            ("config/samples/tenant.yaml", &manifest, of_tenants),
            ("tests/simulation/declared.rs", &resource, of_tenants),
            ("tests/simulation/user.rs", &resource, of_tenants),
            ("tests/simulation/properties.rs", &resource, of_tenants),
        ] {
            let there = std::fs::read_to_string(root.join(file)).unwrap().matches(word.as_str()).count();
            if there < times {
                missing.push(format!("{file}: {} {there} times, not {times}", word.trim()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_rights_are_what_the_data_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rbac/operator.yaml");
    let head = "# What the operator may do. Generated from src/api/rbac.rs: `make crds`.\n";
    let wanted = format!("{head}{}", mailtenant_api::rbac::yaml("mailtenant-system").unwrap());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &wanted).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(there == wanted, "config/rbac/ differs from src/api/rbac.rs: run `make crds`");
}

/// Kinds with a status carry the finalizer.
#[test]
fn every_kind_with_a_finalizer_is_created_with_it() {
    let all = mailtenant_api::crds::all();
    let declared = all.iter().filter(|crd| crd["spec"]["versions"][0]["subresources"]["status"].is_object());
    let mut wanted: Vec<&str> = declared.map(|crd| crd["spec"]["names"]["plural"].as_str().unwrap()).collect();
    wanted.sort_unstable();
    let text = include_str!("../config/admission/finalizer.yaml");
    let policy: serde_json::Value = serde_yaml::from_str(text.split("\n---\n").next().unwrap()).unwrap();
    let rule = &policy["spec"]["matchConstraints"]["resourceRules"][0];
    let mut listed: Vec<&str> = rule["resources"].as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect();
    listed.sort_unstable();
    assert_eq!(listed, wanted, "config/admission/finalizer.yaml names other kinds");
}
