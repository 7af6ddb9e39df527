//! What is computed from two readings, whatever lies between them.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use proptest::prelude::*;

use super::*;

fn sample(seconds: u64) -> HostSample {
    let tick = Duration::from_secs(seconds);
    HostSample::empty(UNIX_EPOCH + tick, tick)
}

fn cpu(user: u64, idle: u64) -> Cpu {
    Cpu {
        user: Some(user),
        idle: Some(idle),
        ..Cpu::default()
    }
}

fn disk(busy_ms: u64, read_bytes: u64) -> DiskIo {
    DiskIo {
        busy_ms: Some(busy_ms),
        read_bytes: Some(read_bytes),
        ..DiskIo::default()
    }
}

fn traffic(rx_bytes: u64) -> Traffic {
    Traffic {
        rx_bytes: Some(rx_bytes),
        ..Traffic::default()
    }
}

/// A processor that is taken out or put in between two readings is compared with itself alone.
#[test]
fn processors_come_and_go() {
    let (mut before, mut now) = (sample(10), sample(20));
    before.cores = vec![(0, cpu(0, 0)), (1, cpu(50, 50)), (2, cpu(10, 90))];
    // 1 is out; 3 is new; 2 counts on; 0 was out and in again, and counts from zero.
    before.cores[0].1 = cpu(900, 900);
    now.cores = vec![(0, cpu(1, 1)), (2, cpu(20, 180)), (3, cpu(7, 7))];
    let told = host(&now, Some(&before));
    let cores: Vec<_> = told
        .cores
        .iter()
        .map(|core| (core.number, core.busy_ratio))
        .collect();
    assert_eq!(
        cores,
        [(Some(0), None), (Some(2), Some(0.1)), (Some(3), None)]
    );
}

/// A counter that began anew, or wrapped, is no rate; those beside it are.
#[test]
fn counters_that_wrap_are_no_rates() {
    let (mut before, mut now) = (sample(10), sample(20));
    before.disks = vec![
        ("sda".to_owned(), disk(u64::from(u32::MAX), 1000)),
        ("gone".to_owned(), disk(1, 1)),
    ];
    now.disks = vec![
        ("sda".to_owned(), disk(5, 6000)),
        ("new".to_owned(), disk(1, 1)),
    ];
    before.interfaces = vec![("eth0".to_owned(), traffic(u64::MAX))];
    now.interfaces = vec![("eth0".to_owned(), traffic(12))];
    let told = host(&now, Some(&before));
    let (sda, new) = (&told.disks[0], &told.disks[1]);
    assert_eq!(
        (sda.busy_ratio, sda.read_bytes_per_second),
        (None, Some(500.0))
    );
    assert_eq!((new.busy_ratio, new.read_bytes_per_second), (None, None));
    let eth0 = &told.interfaces[0];
    assert_eq!(
        (eth0.received_bytes, eth0.received_bytes_per_second),
        (Some(12), None)
    );
}

/// The clock is set back an hour between two readings, or ahead by ten years: they say so, and are compared all the same.
#[test]
fn a_clock_that_is_set_changes_only_the_times() {
    let (mut before, mut now) = (sample(10), sample(20));
    before.interfaces = vec![("eth0".to_owned(), traffic(0))];
    now.interfaces = vec![("eth0".to_owned(), traffic(70))];
    for time in [
        before.time - Duration::from_secs(3600),
        before.time + Duration::from_secs(315_360_000),
        UNIX_EPOCH - Duration::from_secs(1),
    ] {
        now.time = time;
        let told = host(&now, Some(&before));
        assert_eq!(SystemTime::try_from(told.time.unwrap()).unwrap(), time);
        assert_eq!(told.measured_over.unwrap().seconds, 10);
        assert_eq!(told.interfaces[0].received_bytes_per_second, Some(7.0));
    }
    // Nothing lies between them: nothing is computed.
    now.tick = before.tick;
    let told = host(&now, Some(&before));
    assert_eq!(told.measured_over, None);
    assert_eq!(told.interfaces[0].received_bytes_per_second, None);
}

fn containers(seconds: u64, usage: Usage) -> ContainerSample {
    let tick = Duration::from_secs(seconds);
    let row = ContainerRow {
        id: Arc::from("a"),
        name: Arc::from("web"),
        source: Source::Cgroup,
        usage,
        devices: vec![DeviceIo::of((8, 0))],
    };
    ContainerSample {
        time: UNIX_EPOCH + tick,
        tick,
        rows: vec![row],
        missing: Vec::new(),
    }
}

#[test]
fn a_container_that_was_started_again_is_not_compared() {
    let usage = |cpu, host_cpu, rx_bytes| Usage {
        cpu: Some(cpu),
        host_cpu: Some(host_cpu),
        host_cpus: Some(2),
        rx_bytes: Some(rx_bytes),
        ..Usage::default()
    };
    let before = containers(10, usage(1_000, 10_000, 50));
    let now = containers(12, usage(2_000, 14_000, 250));
    let told = container(&now.rows[0], &now, Some(&before));
    assert_eq!(
        (told.cpu_percent, told.received_bytes_per_second),
        (Some(50.0), Some(100.0))
    );
    assert_eq!(told.measured_over.unwrap().seconds, 2);
    assert_eq!(told.block_devices[0].device, "8:0");
    // It has received more than before already, and in how much time is not known.
    let now = containers(12, usage(500, 14_000, 250));
    let told = container(&now.rows[0], &now, Some(&before));
    assert_eq!(
        (told.cpu_percent, told.received_bytes_per_second),
        (None, None)
    );
    assert_eq!(told.measured_over, None);
}

proptest! {
    /// No two readings make a figure that cannot be.
    #[test]
    fn nothing_computed_is_negative_or_endless(
        values in proptest::collection::vec(proptest::option::of(any::<u64>()), 80),
        ticks in (any::<u64>(), any::<u64>()),
    ) {
        let mut two = [0, 1].map(|which: usize| {
            let tick = Duration::from_nanos(if which == 0 { ticks.0 } else { ticks.1 });
            let values = values.get(which * 40..).unwrap_or_default();
            let mut sample = HostSample::empty(UNIX_EPOCH, tick);
            sample.cpu = Cpu::from_values(values);
            sample.disks = vec![("d".to_owned(), DiskIo::from_values(values))];
            sample.interfaces = vec![("i".to_owned(), Traffic::from_values(values))];
            let mut found = containers(0, Usage::from_values(values));
            found.tick = tick;
            (sample, found)
        });
        let (before, now) = two.split_at_mut(1);
        let (before, now) = (&before[0], &now[0]);
        let told = host(&now.0, Some(&before.0));
        let (disk, interface) = (&told.disks[0], &told.interfaces[0]);
        let own = container(&now.1.rows[0], &now.1, Some(&before.1));
        for value in [
            told.cpu.as_ref().unwrap().busy_ratio,
            disk.busy_ratio,
            disk.read_bytes_per_second,
            disk.writes_per_second,
            interface.received_bytes_per_second,
            interface.sent_bytes_per_second,
            own.cpu_percent,
            own.received_bytes_per_second,
            own.written_bytes_per_second,
        ] {
            prop_assert!(value.is_none_or(|value| value.is_finite() && value >= 0.0), "{value:?}");
        }
    }
}
