//! Whose line is next.

use std::collections::HashMap;

use super::*;
use crate::engines::docker::{
    container::{Container, State},
    logs::LogEnd,
    position::Position,
    reader::{Gap, Rest},
};

fn sources(phases: &[Phase]) -> Sources {
    let mut sources = Sources::default();
    for (at, phase) in phases.iter().enumerate() {
        let id = format!("{at:064x}");
        let container = Container {
            id: id.clone(),
            name: format!("c{at}"),
            image: String::new(),
            image_id: String::new(),
            state: State::Running,
            status: String::new(),
            created: None,
            command: Vec::new(),
            labels: HashMap::new(),
            ports: Vec::new(),
        };
        let index = sources.add(Source::new(
            id.parse().unwrap(),
            &container,
            Position::default(),
        ));
        sources.all.get_mut(&index).unwrap().phase = *phase;
    }
    sources
}

fn lines(times: &[i64]) -> Vec<Line> {
    let line = |time: &i64| Line {
        time: *time,
        stderr: false,
        content: bytes::Bytes::from_static(b"x"),
        partial: false,
    };
    times.iter().map(line).collect()
}

fn given(lines: Vec<(u32, Line)>) -> Vec<(u32, i64)> {
    lines
        .into_iter()
        .map(|(index, line)| (index, line.time))
        .collect()
}

#[test]
fn stored_lines_wait_for_each_other_and_keep_their_own_order() {
    let now = Instant::now();
    let mut sources = sources(&[Phase::Stored, Phase::Stored]);
    sources.take(1, lines(&[1, 9, 3, 4]), now);
    assert!(sources.give(now).is_empty());
    sources.take(2, lines(&[2, 5]), now);
    // The first one's clock was set back: its 3 and 4 stay behind its 9.
    assert_eq!(given(sources.give(now)), [(1, 1), (2, 2), (2, 5)]);
    sources.take(2, lines(&[10]), now);
    assert_eq!(given(sources.give(now)), [(1, 9), (1, 3), (1, 4)]);
    assert!(sources.give(now).is_empty());
    sources.all.get_mut(&1).unwrap().phase = Phase::Idle;
    assert_eq!(given(sources.give(now)), [(2, 10)]);
    assert_eq!(sources.held, 0);
}

#[test]
fn live_lines_wait_a_moment_for_older_ones() {
    let now = Instant::now();
    let mut sources = sources(&[Phase::Live, Phase::Live]);
    sources.take(1, lines(&[7]), now);
    assert!(sources.give(now).is_empty());
    sources.take(2, lines(&[6]), now + WINDOW / 2);
    assert_eq!(sources.due(), Some(now + WINDOW));
    assert_eq!(given(sources.give(now + WINDOW)), [(2, 6), (1, 7)]);
    assert_eq!(sources.due(), None);
    // Nothing waits when much has come, or for nobody.
    let many: Vec<i64> = (0..20_000).collect();
    sources.take(1, lines(&many), now);
    assert!(!sources.has_room() && !sources.give(now).is_empty());
    sources.all.get_mut(&2).unwrap().phase = Phase::Idle;
    while !sources.give(now).is_empty() {}
    sources.take(1, lines(&[7]), now);
    assert_eq!(given(sources.give(now)), [(1, 7)]);
}

#[test]
fn ends_are_told_behind_the_last_line() {
    let now = Instant::now();
    let mut sources = sources(&[Phase::Stored, Phase::Live]);
    sources.take(2, lines(&[1]), now);
    let second = sources.all.get_mut(&2).unwrap();
    second.phase = Phase::Idle;
    second.removed = true;
    second.ended = Some(SourceEnd::Ended);
    assert!(sources.take_ends().is_empty());
    sources.take(1, lines(&[2]), now);
    assert_eq!(given(sources.give(now)), [(2, 1), (1, 2)]);
    let ends = sources.take_ends();
    assert_eq!((ends.len(), &ends[0].2), (1, &SourceEnd::Removed));
    assert_eq!(sources.all.len(), 1);
}

#[test]
fn what_lies_behind_a_gap_waits_for_the_lines_before_it() {
    let now = Instant::now();
    let mut sources = sources(&[Phase::Live, Phase::Live]);
    let reading = |gap| Reading {
        lines: lines(&[7]),
        gap,
        rest: Ok(Rest::End(LogEnd::Complete)),
    };
    let gap = Some(Gap {
        after: 2,
        before: 7,
    });
    assert!(sources.hold(1, reading(gap)).is_some());
    sources.take(1, lines(&[1, 2]), now);
    assert!(sources.hold(1, reading(None)).is_some());
    assert!(sources.hold(1, reading(gap)).is_none());
    assert!(sources.give(now).is_empty() && sources.release().is_none());
    assert_eq!(sources.give(now + WINDOW).len(), 2);
    let (index, released) = sources.release().unwrap();
    assert_eq!((index, released.gap), (1, gap));
    assert!(sources.release().is_none());
}
