//! Places in logs that are read again.

use proptest::prelude::*;

use super::*;

fn line(time: i64, stderr: bool) -> Line {
    Line {
        time,
        stderr,
        content: bytes::Bytes::new(),
        partial: false,
    }
}

/// Reads the log from the place on; what is new, by its index, and whether something may be missing.
fn rest(log: &[Line], position: &Position) -> (Vec<usize>, bool) {
    let since = position.since().unwrap_or(i64::MIN);
    let mut skip = Skip::to(position);
    let (mut new, mut lost) = (Vec::new(), false);
    for (at, line) in log.iter().enumerate() {
        if line.time < since {
            continue;
        }
        match skip.look(line) {
            Verdict::Given => {}
            Verdict::New => new.push(at),
            Verdict::Lost(_) => {
                lost = true;
                new.push(at);
            }
        }
    }
    (new, lost)
}

#[test]
fn a_place_is_found_again_wherever_it_is() {
    const SECOND: i64 = 1_000_000_000;
    let log: Vec<Line> = [
        (5, false),
        (7, false),
        (7, true),
        (7, false),
        (6, true),
        (7, false),
        (40 * SECOND, false),
        (39 * SECOND, true),
        (40 * SECOND, false),
        // The clock is set back by more than the margin, and goes on from there.
        (8, false),
        (8, false),
        (9, true),
        (41 * SECOND, false),
    ]
    .map(|(time, stderr)| line(time, stderr))
    .into();
    for cut in 0..=log.len() {
        let mut position = Position::default();
        log[..cut].iter().for_each(|line| position.push(line));
        // A clock that is set back by more than the margin while nobody reads is what the engine's filter loses.
        if !(7..=9).contains(&cut) {
            let expected: Vec<usize> = (cut..log.len()).collect();
            assert_eq!(rest(&log, &position), (expected, false), "after {cut}");
        }
        // And again from a place that was found.
        let read = Position::new(position.anchors().to_vec()).unwrap();
        assert_eq!(read, position);
    }
}

#[test]
fn a_place_that_is_gone_is_told_and_nothing_more_is_lost() {
    let log: Vec<Line> = (1..100).map(|time| line(time * 10, false)).collect();
    let mut position = Position::default();
    log[..20].iter().for_each(|line| position.push(line));
    assert_eq!(
        rest(&log[30..], &position),
        ((0..69).collect::<Vec<_>>(), true)
    );
    // The place itself is the oldest that is left.
    assert_eq!(
        rest(&log[19..], &position),
        ((1..80).collect::<Vec<_>>(), false)
    );
}

#[test]
fn what_names_no_place_is_refused() {
    let anchor = |time, stdout| Anchor {
        time,
        stdout,
        stderr: 0,
    };
    assert!(Position::new(vec![]).is_some());
    assert!(Position::new(vec![anchor(2, 1), anchor(1, 1)]).is_some());
    for wrong in [
        vec![anchor(1, 0)],
        vec![anchor(0, 1)],
        vec![anchor(1, 1), anchor(1, 1)],
        vec![anchor(1, 1), anchor(2, 1)],
        (1..=5).rev().map(|time| anchor(time, 1)).collect(),
    ] {
        assert!(Position::new(wrong.clone()).is_none(), "{wrong:?}");
    }
}

proptest! {
    /// Two streams whose times are out of order by a little, several lines at one time, and any number of cuts.
    #[test]
    fn every_line_comes_once_over_any_cuts(
        steps in proptest::collection::vec((-3i64..5, any::<bool>()), 1..60),
        cuts in proptest::collection::vec(0usize..60, 0..4),
    ) {
        let mut time = 1_000;
        let log: Vec<Line> = steps
            .into_iter()
            .map(|(step, stderr)| {
                time += step;
                line(time, stderr)
            })
            .collect();
        let mut position = Position::default();
        let mut given = Vec::new();
        for cut in cuts.into_iter().chain([log.len()]) {
            let cut = cut.min(log.len());
            let (new, _) = rest(&log[..cut], &position);
            for at in new {
                position.push(&log[at]);
                given.push(at);
            }
        }
        // Long falls with many lines at equal times may repeat some; none is ever left out.
        let mut all = given.clone();
        all.dedup();
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all, (0..log.len()).collect::<Vec<_>>());
        let falls = log.windows(2).filter(|two| two[1].time < two[0].time).count();
        if falls < MOST {
            prop_assert_eq!(given, (0..log.len()).collect::<Vec<_>>());
        }
    }
}
