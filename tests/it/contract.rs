//! Refuses a change of `proto/` that breaks callers of a released version.
//!
//! `proto/released.binpb` is the contract as it was last released, a `FileDescriptorSet`. What it
//! has must stay: files, messages, fields with number, type and cardinality, enum values, methods.
//! What it does not have may come and go until `make contract` takes it as released.

use std::{collections::BTreeMap, fs, path::Path};

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

const RELEASED: &str = "proto/released.binpb";
/// Each thing that a caller can rely on, by its full name, and how it looks.
type Facts = BTreeMap<String, String>;

fn current() -> FileDescriptorSet {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut files = Vec::new();
    for package in fs::read_dir(proto.join("turbopanel")).unwrap() {
        for file in fs::read_dir(package.unwrap().path().join("v1")).unwrap() {
            files.push(file.unwrap().path());
        }
    }
    assert!(
        files.len() > 8,
        "the contract is not where it was: {files:?}"
    );
    files.sort();
    let mut set = protox::compile(files, [proto]).unwrap();
    for file in &mut set.file {
        file.source_code_info = None;
    }
    set
}

fn facts(set: &FileDescriptorSet) -> Facts {
    let mut facts = Facts::new();
    for file in set
        .file
        .iter()
        .filter(|file| file.package().starts_with("turbopanel."))
    {
        let package = file.package();
        for message in &file.message_type {
            message_facts(package, message, &mut facts);
        }
        for declared in &file.enum_type {
            enum_facts(package, declared, &mut facts);
        }
        for service in &file.service {
            for method in &service.method {
                facts.insert(
                    format!("method {package}.{}/{}", service.name(), method.name()),
                    format!(
                        "{}{} -> {}{}",
                        if method.client_streaming() {
                            "stream "
                        } else {
                            ""
                        },
                        method.input_type(),
                        if method.server_streaming() {
                            "stream "
                        } else {
                            ""
                        },
                        method.output_type(),
                    ),
                );
            }
        }
        for extension in &file.extension {
            facts.insert(
                format!("extension {package}.{}", extension.name()),
                format!(
                    "{} {:?} of {}",
                    extension.number(),
                    extension.r#type(),
                    extension.extendee()
                ),
            );
        }
    }
    facts
}

fn message_facts(scope: &str, message: &DescriptorProto, facts: &mut Facts) {
    let name = format!("{scope}.{}", message.name());
    facts.insert(format!("message {name}"), String::new());
    for field in &message.field {
        let oneof = field
            .oneof_index
            .filter(|_| !field.proto3_optional())
            .and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?))
            .map(|oneof| format!(" in oneof {}", oneof.name()))
            .unwrap_or_default();
        // The number names a field on the wire; its name is what generated code and JSON use.
        facts.insert(
            format!("field {name} = {}", field.number()),
            format!(
                "{}: {:?} {:?} {}{}{oneof}",
                field.name(),
                field.label(),
                field.r#type(),
                field.type_name(),
                if field.proto3_optional() {
                    " optional"
                } else {
                    ""
                },
            ),
        );
    }
    for nested in &message.nested_type {
        message_facts(&name, nested, facts);
    }
    for declared in &message.enum_type {
        enum_facts(&name, declared, facts);
    }
}

fn enum_facts(scope: &str, declared: &EnumDescriptorProto, facts: &mut Facts) {
    for value in &declared.value {
        facts.insert(
            format!("value {scope}.{} = {}", declared.name(), value.number()),
            value.name().to_owned(),
        );
    }
}

/// What of `released` is gone or looks different in `current`.
fn broken(released: &Facts, current: &Facts) -> Vec<String> {
    released
        .iter()
        .filter_map(|(name, was)| match current.get(name) {
            None => Some(format!("{name} ({was}) was removed")),
            Some(is) if is != was => Some(format!("{name} was `{was}` and is `{is}`")),
            Some(_) => None,
        })
        .collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the switch of `make contract`")]
fn the_released_contract_still_holds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RELEASED);
    let current = current();
    if std::env::var_os("TURBOPANEL_RELEASE_CONTRACT").is_some() {
        fs::write(&path, current.encode_to_vec()).unwrap();
    }
    let released = FileDescriptorSet::decode(fs::read(&path).unwrap().as_slice()).unwrap();
    let released = facts(&released);
    assert!(
        released.len() > 100,
        "{RELEASED} holds {} facts only",
        released.len()
    );
    let broken = broken(&released, &facts(&current));
    assert!(
        broken.is_empty(),
        "the contract breaks callers of the released version:\n{}\nAdd something new instead, or a new package version.",
        broken.join("\n")
    );
}

#[test]
fn breaking_changes_are_seen_and_additions_are_not() {
    let set = current();
    let before = facts(&set);
    let change = |edit: fn(&mut FileDescriptorSet)| {
        let mut changed = set.clone();
        edit(&mut changed);
        broken(&before, &facts(&changed)).len()
    };
    fn log(set: &mut FileDescriptorSet) -> &mut prost_types::FileDescriptorProto {
        set.file
            .iter_mut()
            .find(|file| file.name().ends_with("v1/log.proto"))
            .unwrap()
    }
    // Field `container` of StreamLogsRequest: removed, renumbered, retyped, renamed.
    assert_eq!(
        change(|set| drop(log(set).message_type[0].field.remove(0))),
        1
    );
    assert_eq!(
        change(|set| log(set).message_type[0].field[0].number = Some(99)),
        1
    );
    assert_eq!(
        change(|set| log(set).message_type[0].field[0].r#type = Some(12)),
        1
    );
    assert_eq!(
        change(|set| log(set).message_type[0].field[0].name = Some("other".into())),
        1
    );
    assert_eq!(change(|set| drop(log(set).service[0].method.remove(0))), 1);
    assert_eq!(
        change(|set| log(set).service[0].method[0].server_streaming = Some(false)),
        1
    );
    assert_eq!(change(|set| drop(log(set).enum_type[0].value.remove(1))), 1);
    // A new field and a new method.
    assert_eq!(
        change(|set| {
            let mut field = log(set).message_type[0].field[0].clone();
            field.number = Some(99);
            field.name = Some("new".into());
            log(set).message_type[0].field.push(field);
            let mut method = log(set).service[0].method[0].clone();
            method.name = Some("Other".into());
            log(set).service[0].method.push(method);
        }),
        0
    );
}
