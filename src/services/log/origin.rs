//! Where lines come from: the log of one container, or of many as one. Knows the place behind what was sent, too.

use std::collections::HashMap;

use crate::{
    engines::docker::{
        Engine, Error,
        follow::MergeRequest,
        lines::Line,
        logs::{LogEnd, LogRequest},
        merge::{Merge, Step},
        position::Position,
        reader::Reader,
        source::Label,
    },
    services::log::cursor,
};

/// Lines that come.
#[derive(Debug)]
pub(super) enum Origin {
    /// Of one container.
    One(Box<One>),
    /// Of many.
    Many(Box<Merge>),
}

#[derive(Debug)]
pub(super) struct One {
    reader: Reader,
    id: String,
    place: Position,
    /// Read, and to be given.
    lines: Vec<Line>,
    end: Option<LogEnd>,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    /// Lines of one container.
    Lines(Vec<Line>),
    /// What many say.
    Step(Step),
    /// There is no more.
    End(LogEnd),
}

impl Origin {
    /// The log of one container. A place in it is one in the log of the container that has the name now, or counts
    /// for nothing.
    pub(super) async fn one(
        engine: &Engine,
        request: LogRequest,
        places: Option<HashMap<String, Position>>,
    ) -> Result<Self, Error> {
        let only = places.filter(|places| places.len() == 1);
        let known = only.and_then(|places| places.into_iter().next());
        let mut place = known
            .as_ref()
            .map(|(_, place)| place.clone())
            .unwrap_or_default();
        let mut reader = Reader::new(engine, request.clone(), place.clone());
        match (reader.open().await, &known) {
            // It has another name by now.
            (Err(gone @ Error::ContainerNotFound { .. }), Some((digits, _))) => {
                let Ok(container) = digits.parse() else {
                    return Err(gone);
                };
                let request = LogRequest {
                    container,
                    ..request.clone()
                };
                reader = Reader::new(engine, request, place.clone());
                reader.open().await.map_err(|error| match error {
                    Error::ContainerNotFound { .. } => gone,
                    error => error,
                })?;
            }
            (opened, _) => opened?,
        }
        if let Some((digits, _)) = known
            && !reader.id().starts_with(&digits)
        {
            place = Position::default();
            reader = Reader::new(engine, request, Position::default());
            reader.open().await?;
        }
        Ok(Self::One(Box::new(One {
            id: reader.id().to_owned(),
            reader,
            place,
            lines: Vec::new(),
            end: None,
        })))
    }

    /// The logs of many.
    pub(super) async fn many(engine: &Engine, request: MergeRequest) -> Result<Self, Error> {
        Ok(Self::Many(Box::new(engine.merge(request).await?)))
    }

    /// What comes next. Not to be called again after an end or an error.
    pub(super) async fn next(&mut self) -> Result<Next, Error> {
        match self {
            Self::Many(merge) => Ok(match merge.next().await? {
                Step::End => Next::End(LogEnd::Complete),
                step => Next::Step(step),
            }),
            Self::One(one) => {
                if one.lines.is_empty() && one.end.is_none() {
                    let (gap, end) = one.reader.lines(&mut one.lines).await?;
                    one.end = end;
                    if let Some(gap) = gap {
                        return Ok(Next::Step(Step::Gap(0, gap)));
                    }
                }
                Ok(match one.end {
                    Some(end) if one.lines.is_empty() => Next::End(end),
                    _ => Next::Lines(std::mem::take(&mut one.lines)),
                })
            }
        }
    }

    /// The line was sent, or is not wanted: what comes after it is what is missing.
    pub(super) fn settled(&mut self, source: u32, line: &Line) {
        match self {
            Self::One(one) => one.place.push(line),
            Self::Many(merge) => merge.settled(source, line),
        }
    }

    /// Leads on behind what is settled.
    pub(super) fn cursor(&self) -> Vec<u8> {
        match self {
            Self::One(one) => cursor::write(std::iter::once((one.id.as_str(), &one.place))),
            Self::Many(merge) => cursor::write(merge.places()),
        }
    }

    /// The source's container.
    pub(super) fn label(&self, source: u32) -> Option<&Label> {
        match self {
            Self::One(_) => None,
            Self::Many(merge) => merge.label(source),
        }
    }

    /// The container's id.
    pub(super) fn id(&self, source: u32) -> String {
        match self {
            Self::One(one) => one.id.clone(),
            Self::Many(merge) => merge
                .label(source)
                .map(|label| label.id.clone())
                .unwrap_or_default(),
        }
    }
}
