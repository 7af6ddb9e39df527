//! Images as the contract has them.

use crate::{
    engines::docker::image::{HistoryEntry, Image, ImageDetail},
    proto,
    services::{labels, time::timestamp},
};

pub(super) fn image(image: Image) -> proto::Image {
    let (tags, digests) = (image.tags(), image.digests());
    let (created, size_bytes) = (image.created(), image.bytes());
    let (labels, labels_left_out) = labels::bounded(image.labels);
    proto::Image {
        id: image.id,
        tags,
        digests,
        created_at: Some(timestamp(created)),
        size_bytes,
        labels,
        labels_left_out,
    }
}

pub(super) fn detail(detail: ImageDetail, values: bool) -> proto::ImageDetail {
    let mut short = image(detail.image());
    short.created_at = detail.created().map(timestamp);
    let variable = |(name, value): (&str, &str)| proto::EnvironmentVariable {
        name: name.to_owned(),
        value: if values {
            value.to_owned()
        } else {
            String::new()
        },
    };
    let config = &detail.config;
    proto::ImageDetail {
        image: Some(short),
        environment: config.environment().into_iter().map(variable).collect(),
        health_check: config.health_check().to_vec(),
        layers: detail.layers().to_vec(),
        tagged_at: detail.tagged().map(timestamp),
        parent: detail.parent,
        architecture: detail.architecture,
        variant: detail.variant,
        os: detail.os,
        author: detail.author,
        comment: detail.comment,
        entrypoint: detail.config.entrypoint,
        command: detail.config.cmd,
        working_dir: detail.config.working_dir,
        user: detail.config.user,
        exposed_ports: detail.config.exposed_ports.into_keys().collect(),
        volumes: detail.config.volumes.into_keys().collect(),
        stop_signal: detail.config.stop_signal,
    }
}

pub(super) fn history(entry: HistoryEntry) -> proto::ImageHistoryEntry {
    proto::ImageHistoryEntry {
        id: entry.id().to_owned(),
        created_at: Some(timestamp(entry.created())),
        size_bytes: entry.bytes(),
        created_by: entry.created_by,
        tags: entry.tags,
        comment: entry.comment,
    }
}
