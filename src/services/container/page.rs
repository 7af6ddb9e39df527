//! Pages of a list that changes between two calls.
//!
//! A token holds the last container of its page, not a number of containers: what is made or
//! removed meanwhile neither repeats nor hides others.

use std::cmp::Reverse;

use tonic::Status;

use crate::{
    engines::docker::container::Container,
    services::{error, listing},
};

const DEFAULT_SIZE: usize = 100;
const MAX_SIZE: usize = 1000;

/// A place in the list: newest first, then by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position(Reverse<i64>, String);

impl Position {
    fn of(container: &Container) -> Self {
        Self(
            Reverse(container.created.unwrap_or_default()),
            container.id.clone(),
        )
    }

    fn write(&self) -> String {
        format!("{:x}-{}", self.0.0, self.1)
    }

    /// Reads a page token; none when it is empty.
    pub(super) fn read(token: &str) -> Result<Option<Self>, Status> {
        if token.is_empty() {
            return Ok(None);
        }
        let parse = || {
            let (created, id) = token.split_once('-')?;
            let created = i64::from_str_radix(created, 16).ok()?;
            let hex = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            hex.then(|| Self(Reverse(created), id.to_owned()))
        };
        parse().map(Some).ok_or_else(|| {
            error::invalid(
                "page_token",
                token,
                "give next_page_token of the page before, or nothing for the first page",
            )
        })
    }
}

/// The size of a page.
pub(super) fn size(asked: u32) -> Result<usize, Status> {
    match asked as usize {
        0 => Ok(DEFAULT_SIZE),
        size if size <= MAX_SIZE => Ok(size),
        _ => Err(error::invalid(
            "page_size",
            &asked.to_string(),
            "give at most 1000",
        )),
    }
}

/// One page after a position, and the token of the next one.
pub(super) fn cut(
    mut containers: Vec<Container>,
    after: Option<&Position>,
    size: usize,
) -> (Vec<Container>, String) {
    containers.sort_by_cached_key(Position::of);
    if let Some(after) = after {
        containers.retain(|container| Position::of(container) > *after);
    }
    let fit = listing::fitting(containers.iter().map(length), size);
    let more = containers.len() > fit;
    containers.truncate(fit);
    let token = match containers.last() {
        Some(last) if more => Position::of(last).write(),
        _ => String::new(),
    };
    (containers, token)
}

/// About as long as it is in a message.
fn length(container: &Container) -> usize {
    let labels = container.labels.iter();
    let labels: usize = labels.map(|(key, value)| key.len() + value.len() + 8).sum();
    let texts = container
        .command
        .iter()
        .chain([&container.image, &container.status]);
    512 + labels + container.ports.len() * 64 + texts.map(String::len).sum::<usize>()
}
