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
fn what_is_printed_holds_all_seven_kinds() {
    let all = mailtenant_api::crds::yaml().unwrap();
    assert_eq!(all.matches("\nkind: CustomResourceDefinition\n").count(), 7);
}
