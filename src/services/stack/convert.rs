//! From stacks to the contract's.

use crate::{
    engines::stacks::{
        listed::{Listed, Member},
        names::StackName,
    },
    proto,
    services::{container::convert::container, time::timestamp},
};

pub(super) fn stack((name, listed, kept): (StackName, Option<Listed>, bool)) -> proto::Stack {
    let Some(listed) = listed else {
        return proto::Stack {
            name: name.to_string(),
            kept,
            ..proto::Stack::default()
        };
    };
    let services: Vec<_> = listed
        .services
        .into_iter()
        .map(|(name, service)| proto::ComposeService {
            name,
            image: service.image,
            containers: service.containers,
            running: service.running,
        })
        .collect();
    proto::Stack {
        name: name.to_string(),
        containers: services.iter().map(|service| service.containers).sum(),
        running: services.iter().map(|service| service.running).sum(),
        services,
        created_at: listed.created.map(timestamp),
        config_files: listed.source.config_files,
        working_dir: listed.source.working_dir,
        kept,
    }
}

pub(super) fn member(member: Member) -> proto::StackContainer {
    proto::StackContainer {
        service: member.service,
        number: member.number,
        one_off: member.one_off,
        container: Some(container(member.container)),
    }
}
