//! The history: what is kept is what was read, for an hour, in bounded memory.

use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
use crate::engines::{
    host::{
        Cpu, DiskIo, FileSystem, HostSample, Memory, Pressure, Space, Temperature, Traffic, Usage,
    },
    metrics::{ContainerRow, ContainerSample, Source},
};

const BEGAN: u64 = 1_795_521_600;

fn time(step: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(BEGAN + step * 10) + Duration::from_nanos(step % 1000)
}

/// Numbers that grow by no rule, as counters of a busy machine do.
fn growing(seed: u64, step: u64, index: usize) -> Option<u64> {
    let rate = (seed * 7919 + index as u64 * 104_729) % 1_000_000_000;
    let noise = (seed ^ step.wrapping_mul(2_654_435_761) ^ (index as u64) << 7) % 1_000_003;
    Some(1_000_000_000_000 + rate * step + noise)
}

/// A host with 16 processors, 8 disks, 8 file systems, 16 interfaces, 16 temperatures and so many containers, all of them busy.
fn busy(step: u64, containers: u64) -> Step {
    let tick = STEP * u32::try_from(step).unwrap() + Duration::from_micros(step % 977);
    let mut host = HostSample::empty(time(step), tick);
    macro_rules! filled {
        ($type:ident, $seed:expr) => {
            $type::from_values(&std::array::from_fn::<_, { $type::COUNT }, _>(|index| {
                growing($seed, step, index)
            }))
        };
    }
    host.cpu = filled!(Cpu, 1);
    host.cores = (0..16)
        .map(|core| (core, filled!(Cpu, u64::from(core) + 2)))
        .collect();
    host.pressure = [
        filled!(Pressure, 20),
        filled!(Pressure, 21),
        filled!(Pressure, 22),
    ];
    host.memory = filled!(Memory, 30);
    host.file_systems = (0..8)
        .map(|seed| FileSystem {
            mount_point: format!("/srv/data-{seed}"),
            device: format!("/dev/mapper/volume-{seed}"),
            kind: "ext4".to_owned(),
            read_only: seed % 2 == 0,
            space: filled!(Space, seed + 40),
        })
        .collect();
    host.temperatures = (0..16)
        .map(|seed| Temperature {
            chip: "coretemp".to_owned(),
            label: format!("Core {seed}"),
            device: "platform_coretemp_0".to_owned(),
            sensor: format!("temp{seed}"),
            celsius: i64::try_from((seed * 7919 + step * 977) % 60_000).unwrap() - 10_000,
            high: (seed > 3).then_some(80_000),
            critical: Some(100_000),
        })
        .collect();
    host.disks = (0..8)
        .map(|seed| (format!("nvme{seed}n1"), filled!(DiskIo, seed + 50)))
        .collect();
    host.interfaces = (0..16)
        .map(|seed| (format!("enp{seed}s0"), filled!(Traffic, seed + 60)))
        .collect();
    let rows = (0..containers).map(|seed| ContainerRow {
        id: format!("{seed:064x}").into(),
        name: format!("project-service-{seed}").into(),
        source: Source::Cgroup,
        usage: filled!(Usage, seed + 100),
        devices: Vec::new(),
    });
    let containers = Some(ContainerSample {
        time: host.time,
        tick,
        rows: rows.collect(),
        missing: Vec::new(),
    });
    Step { host, containers }
}

fn all(history: &History, mut from: Bookmark) -> Vec<Step> {
    let mut found = Vec::new();
    loop {
        let (_, steps, next) = history.read(from);
        if steps.is_empty() {
            return found;
        }
        found.extend(steps);
        from = next;
    }
}

#[test]
fn an_hour_of_a_busy_host_and_50_containers_takes_less_than_4_mib() {
    let mut history = History::default();
    for step in 0..1000 {
        history.push(&busy(step, 50));
        assert!(
            history.bytes() <= 4 * 1024 * 1024,
            "{} at {step}",
            history.bytes()
        );
    }
    let kept = all(&history, history.after(time(999 - 360)));
    assert_eq!(kept.len(), 360);
    let kept = all(&history, Bookmark(0));
    assert!((361..=391).contains(&kept.len()), "{}", kept.len());
    let oldest = 1000 - u64::try_from(kept.len()).unwrap();
    assert_eq!(history.oldest(), Some(time(oldest)));
    for (step, kept) in (oldest..).zip(kept) {
        assert_eq!(kept, busy(step, 50));
    }
}

#[test]
fn more_containers_than_fit_shorten_it() {
    let mut history = History::default();
    for step in 0..100 {
        history.push(&busy(step, 1000));
        assert!(history.bytes() <= MOST, "{} at {step}", history.bytes());
        assert_eq!(history.end(), Bookmark(step + 1));
    }
    let kept = all(&history, Bookmark(0));
    assert_eq!(kept.last(), Some(&busy(99, 1000)));
}

#[test]
fn whoever_was_away_goes_on_without_a_gap_or_a_duplicate() {
    let mut history = History::default();
    assert_eq!(
        history.read(history.after(time(5))),
        (None, Vec::new(), Bookmark(0))
    );
    for step in 0..100 {
        history.push(&busy(step, 2));
    }
    let bookmark = history.after(time(42));
    assert_eq!(bookmark, Bookmark(43));
    let (before, steps, _) = history.read(bookmark);
    assert_eq!((before, &steps[0]), (Some(busy(42, 2)), &busy(43, 2)));
    // The step before the first of a segment is in the segment before.
    let (before, steps, next) = history.read(Bookmark(60));
    assert_eq!(
        (before, &steps[0], next),
        (Some(busy(59, 2)), &busy(60, 2), Bookmark(90))
    );
    let kept = all(&history, bookmark);
    assert_eq!(kept.len(), 57);
    let between = time(42) + Duration::from_secs(5);
    assert_eq!(history.after(between), Bookmark(43));
    assert_eq!(history.after(UNIX_EPOCH), Bookmark(0));
    assert_eq!(history.after(time(1000)), history.end());
    assert_eq!(history.after_tick(busy(42, 0).host.tick), Bookmark(43));
    history.push(&busy(100, 2));
    assert_eq!(all(&history, Bookmark(100)), [busy(100, 2)]);
}

#[test]
fn a_clock_that_is_set_back_loses_nothing() {
    let mut history = History::default();
    let mut steps = Vec::new();
    for step in 0..50 {
        let mut one = busy(step, 1);
        if step >= 20 {
            // An hour back, and once more before 1970.
            one.host.time -= Duration::from_secs(3600);
        }
        if let Some(containers) = &mut one.containers {
            containers.time = one.host.time;
        }
        history.push(&one);
        steps.push(one);
    }
    assert_eq!(all(&history, history.after(time(19))), steps[20..]);
    assert_eq!(all(&history, history.after(time(30))), []);
    assert_eq!(
        all(&history, history.after(steps[30].host.time)),
        steps[31..]
    );
    // What is not a step's own time begins with the first that is later, whatever comes after it.
    let between = time(10) + Duration::from_secs(1);
    assert_eq!(all(&history, history.after(between)), steps[11..]);
}

#[test]
fn containers_come_and_go_and_times_are_any() {
    let mut history = History::default();
    let mut first = busy(0, 3);
    first.containers = None;
    first.host.time = UNIX_EPOCH - Duration::from_secs(5);
    let second = busy(1, 0);
    let mut third = busy(2, 1);
    if let Some(row) = third
        .containers
        .as_mut()
        .and_then(|found| found.rows.first_mut())
    {
        row.usage.memory = None;
        row.usage.pids = Some(u64::MAX);
        row.source = Source::Engine;
    }
    for step in [&first, &second, &third] {
        history.push(step);
    }
    first.host.time = UNIX_EPOCH;
    assert_eq!(all(&history, Bookmark(0)), [first, second, third]);
}
