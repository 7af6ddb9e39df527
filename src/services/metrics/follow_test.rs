//! Following samples where the clock is set, the reader is slow, and containers come and go. The history is filled by
//! hand, or by the agent's own task on Tokio's clock.

use std::{sync::Arc, time::UNIX_EPOCH};

use tokio::task::JoinSet;

use super::*;
use crate::engines::{
    docker::{Engine, EngineAddress},
    host::{HostRoot, Usage},
    metrics::{ContainerRow, Source},
};

const BEGAN: Duration = Duration::from_secs(1_795_521_600);

/// Figures of a host that has none: only their times count here.
fn metrics() -> Metrics {
    let address = EngineAddress::Unix("/nowhere/docker.sock".into());
    Metrics::new(Engine::new(address), HostRoot::under("/nowhere".into()))
}

/// The step of this number, by a clock that says `time`.
fn step(number: u32, time: SystemTime) -> Step {
    let tick = STEP * number;
    Step {
        host: HostSample::empty(time, tick),
        containers: None,
    }
}

fn clock(number: u32) -> SystemTime {
    UNIX_EPOCH + BEGAN + STEP * number
}

/// Set back an hour, then ahead ten years, then right again.
fn wrong_clock(number: u32) -> SystemTime {
    match number {
        20..40 => clock(number) - Duration::from_secs(3600),
        40..50 => clock(number) + Duration::from_secs(315_360_000),
        _ => clock(number),
    }
}

/// Keeps steps as the agent does, until it is dropped.
fn keeping(metrics: &Metrics) -> JoinSet<()> {
    let metrics = metrics.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { metrics.keep().await });
    tasks
}

/// The kept samples from there on, by their times, and then the first that is live.
async fn kept<S: Sampled>(metrics: &Metrics, since: SystemTime) -> (Vec<S>, Next<S>) {
    let mut follow = Follow::<S>::new(metrics.clone(), STEP, Some(since));
    let mut kept = Vec::new();
    loop {
        let next = follow.next().await.unwrap();
        if !next.kept {
            return (kept, next);
        }
        kept.push(next.sample);
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_loses_no_step_and_repeats_none() {
    let metrics = metrics();
    for number in 0..60 {
        metrics.history().push(&step(number, wrong_clock(number)));
    }
    tokio::time::advance(STEP * 60).await;
    // Whichever sample was the last that somebody got, the next ones follow, each with the time that it had.
    for last in [0, 5, 19, 20, 30, 39, 40, 45, 49, 50, 58, 59] {
        let (kept, live) = kept::<HostSample>(&metrics, wrong_clock(last)).await;
        let times: Vec<_> = kept.iter().map(|sample| sample.time).collect();
        let expected: Vec<_> = (last + 1..60).map(wrong_clock).collect();
        assert_eq!(times, expected, "after {last}");
        let ticks: Vec<_> = kept.iter().map(|sample| sample.tick).collect();
        assert!(ticks.is_sorted(), "{ticks:?}");
        assert!(live.sample.tick >= STEP * 60);
    }
    // A live sample was the last, a little after a step, whatever the clock said then and says now.
    for last in [0, 5, 19, 20, 30, 39, 40, 45, 49, 50, 58] {
        let since = wrong_clock(last) + STEP / 2;
        let (kept, _) = kept::<HostSample>(&metrics, since).await;
        let times: Vec<_> = kept.iter().map(|sample| sample.time).collect();
        let expected: Vec<_> = (last + 1..60).map(wrong_clock).collect();
        assert_eq!(times, expected, "within the step after {last}");
    }
    // From before the first on, all of them.
    let (kept, _) = kept::<HostSample>(&metrics, UNIX_EPOCH).await;
    assert_eq!(kept.len(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_given_what_it_missed() {
    let metrics = metrics();
    let _keeping = keeping(&metrics);
    let mut follow = Follow::<HostSample>::new(metrics.clone(), STEP, None);
    let first = follow.next().await.unwrap();
    assert!(!first.kept);
    let mut last = first.sample.tick;
    for pause in [300_u64, 65, 600] {
        // It reads nothing for so long.
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let mut missed = 0;
        loop {
            let next = follow.next().await.unwrap();
            let apart = next.sample.tick - last;
            assert!(apart > Duration::ZERO && apart < STEP * 2, "{apart:?}");
            let before = next.before.map(|before| before.tick);
            assert_eq!(before, Some(last), "compared with the one before");
            last = next.sample.tick;
            if !next.kept {
                break;
            }
            missed += 1;
        }
        assert!(missed >= pause / 10 - 1, "{missed} of {pause} s");
        // And live again.
        let next = follow.next().await.unwrap();
        assert!(!next.kept);
        last = next.sample.tick;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_was_away_has_every_step_of_the_hour_and_is_told_where_it_begins() {
    let metrics = metrics();
    let _keeping = keeping(&metrics);
    metrics.ask(false);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let mut follow = Follow::<HostSample>::new(metrics.clone(), STEP, Some(UNIX_EPOCH));
    let seen = follow.next().await.unwrap();
    drop(follow);
    // Away for all but an hour.
    tokio::time::sleep(Duration::from_secs(3500)).await;
    let (kept, _) = kept::<HostSample>(&metrics, seen.sample.time).await;
    assert!((350..=353).contains(&kept.len()), "{}", kept.len());
    let apart = kept.windows(2).map(|pair| pair[1].tick - pair[0].tick);
    assert!(apart.into_iter().all(|apart| apart < STEP * 2));
    // Nobody asked for longer than it reaches back: nothing is kept, and nothing is made up.
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    assert_eq!(metrics.history().oldest(), None);
    let mut follow = Follow::<HostSample>::new(metrics.clone(), STEP, Some(UNIX_EPOCH));
    let next = follow.next().await.unwrap();
    assert!(!next.kept && next.kept_since.is_none());
}

#[tokio::test(start_paused = true)]
async fn containers_are_in_the_steps_of_their_time() {
    let metrics = metrics();
    for number in 0..60 {
        let mut one = step(number, clock(number));
        let ran = (10..20).contains(&number) || (30..32).contains(&number);
        let row = ContainerRow {
            id: Arc::from("a"),
            name: Arc::from("job"),
            source: Source::Cgroup,
            usage: Usage {
                pids: Some(u64::from(number)),
                ..Usage::default()
            },
            devices: Vec::new(),
        };
        one.containers = Some(ContainerSample {
            time: one.host.time,
            tick: one.host.tick,
            rows: ran.then_some(row).into_iter().collect(),
            missing: Vec::new(),
        });
        metrics.history().push(&one);
    }
    let rows = metrics.history().containers();
    assert_eq!((rows.len(), rows[0].usage.pids), (1, Some(31)));
    let mut follow = Follow::<ContainerSample>::new(metrics.clone(), STEP, Some(clock(5)));
    let mut seen = Vec::new();
    for number in 6..60 {
        let next = follow.next().await.unwrap();
        assert!(next.kept && next.sample.time == clock(number));
        seen.extend(next.sample.rows.first().and_then(|row| row.usage.pids));
        // In the first step of its time there is nothing to compare it with.
        let before = next.before.unwrap();
        assert_eq!(
            before.usage("a").is_some(),
            (11..21).contains(&number) || (31..33).contains(&number)
        );
    }
    assert_eq!(seen, (10..20).chain(30..32).collect::<Vec<_>>());
}
