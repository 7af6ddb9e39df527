//! The kernel's files as they are, and as nobody expects them.

use proptest::prelude::*;

use super::*;
use crate::engines::host::Usage;

const STAT: &[u8] = include_bytes!("../../../tests/fixtures/host/proc/stat");
const LOADAVG: &[u8] = include_bytes!("../../../tests/fixtures/host/proc/loadavg");
const MEMINFO: &[u8] = include_bytes!("../../../tests/fixtures/host/proc/meminfo");
const DISKSTATS: &[u8] = include_bytes!("../../../tests/fixtures/host/proc/diskstats");
const NET_DEV: &[u8] = include_bytes!("../../../tests/fixtures/host/proc/1/net/dev");
const OWN_NET_DEV: &[u8] = include_bytes!("../../../tests/fixtures/host/proc/4242/net/dev");
const IO: &[u8] = include_bytes!("../../../tests/fixtures/host/proc/pressure/io");

#[test]
fn processors_are_told_in_nanoseconds() {
    let (all, cores) = stat(STAT);
    assert_eq!(all.user, Some(10_000_000_000));
    assert_eq!(all.steal, Some(80_000_000));
    assert_eq!(cores.len(), 2);
    assert_eq!(cores[1].0, 1);
    assert_eq!(cores[1].1.idle, Some(21_000_000_000));
    // As the engine adds it up: without steal and guests.
    assert_eq!(
        all.as_engine(),
        Some((1000 + 200 + 300 + 4000 + 500 + 6 + 70) * 10_000_000)
    );
}

#[test]
fn use_is_what_was_not_idle() {
    let cpu = |user, idle, iowait| Cpu {
        user: Some(user),
        idle: Some(idle),
        iowait: Some(iowait),
        ..Cpu::default()
    };
    let (before, now) = (cpu(100, 100, 100), cpu(150, 140, 110));
    assert_eq!(now.busy_since(&before), Some(0.5));
    // Nothing has passed, or the host was started again.
    assert_eq!(now.busy_since(&now), None);
    assert_eq!(before.busy_since(&now), None);
    // Idle time that goes back is no use beyond all.
    let busy = cpu(200, 90, 110).busy_since(&before);
    assert!(
        busy.is_some_and(|busy| (0.0..=1.0).contains(&busy)),
        "{busy:?}"
    );
    assert_eq!(Cpu::default().busy_since(&before), None);
}

#[test]
fn percent_is_what_docker_stats_says() {
    let usage = |cpu, host| Usage {
        cpu: Some(cpu),
        host_cpu: Some(host),
        host_cpus: Some(4),
        ..Usage::default()
    };
    // Half of one of four processors: an eighth of all the time.
    let percent = usage(1_500, 14_000).cpu_percent_since(&usage(1_000, 10_000));
    assert_eq!(percent, Some(50.0));
    assert_eq!(
        usage(5, 14_000).cpu_percent_since(&usage(1_000, 10_000)),
        None
    );
    assert_eq!(usage(5, 1).cpu_percent_since(&usage(5, 1)), None);
    assert_eq!(Usage::default().cpu_percent_since(&usage(5, 1)), None);
}

#[test]
fn load_memory_and_pressure() {
    let load = loadavg(LOADAVG);
    assert_eq!(
        (load.one, load.five, load.fifteen),
        (Some(125), Some(50), Some(1005))
    );
    assert_eq!((load.running, load.tasks), (Some(3), Some(412)));
    let memory = meminfo(MEMINFO);
    assert_eq!(memory.total, Some(16_384_000 * 1024));
    assert_eq!(memory.swap_free, Some(1_500_000 * 1024));
    assert_eq!(memory.slab_reclaimable, Some(250_000 * 1024));
    let io = pressure(IO);
    assert_eq!((io.some_10, io.full_300), (Some(267), Some(172)));
    assert_eq!(io.full_total, Some(81_231_150));
}

#[test]
fn disks_are_whole_and_told_in_bytes() {
    let disks = diskstats(DISKSTATS);
    let names: Vec<&str> = disks.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sda", "nvme0n1", "mmcblk0", "dm-0"]);
    let sda = disks[0].1;
    assert_eq!((sda.reads, sda.read_bytes), (Some(100), Some(2000 * 512)));
    assert_eq!((sda.in_flight, sda.busy_ms), (Some(3), Some(50)));
    assert_eq!(
        (sda.written_bytes, sda.write_ms),
        (Some(4000 * 512), Some(60))
    );
}

#[test]
fn partitions_are_told_from_disks_by_their_names() {
    for disk in [
        "sda",
        "sdab",
        "vda",
        "xvdb",
        "hdc",
        "nvme0n1",
        "nvme10n12",
        "mmcblk0",
        "mmcblk0boot0",
        "md127",
        "dm-0",
        "sr0",
        "nbd0",
        "rbd1",
        "zd16",
        "pmem0",
        "p1",
        "map1",
        "bcache0",
    ] {
        assert!(is_disk(disk.as_bytes()), "{disk}");
    }
    for part in [
        "sda1",
        "vdb12",
        "xvda3",
        "hda1",
        "nvme0n1p1",
        "mmcblk0p2",
        "md127p1",
        "nbd0p15",
        "rbd1p1",
        "loop3",
        "loop3p1",
        "ram0",
        "zram0",
        "fd0",
    ] {
        assert!(!is_disk(part.as_bytes()), "{part}");
    }
}

#[test]
fn interfaces_are_the_hosts_own_and_a_containers_are_added_up() {
    let found = interfaces(NET_DEV);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["lo", "eth0"]);
    let eth0 = found[1].1;
    assert_eq!(
        (eth0.rx_bytes, eth0.tx_dropped),
        (Some(340_662_164), Some(4))
    );
    let own = traffic(OWN_NET_DEV);
    assert_eq!((own.rx_bytes, own.tx_bytes), (Some(1030), Some(2040)));
    assert_eq!((own.rx_dropped, own.tx_errors), (Some(2), Some(3)));
}

#[test]
fn one_figure_that_is_wrong_takes_no_other_with_it() {
    let (all, _) = stat(b"cpu 5 max 7 -1\ncpu0 1\ncpux 1\ncpu99999999999 1\n");
    assert_eq!(
        (all.user, all.nice, all.system, all.idle),
        (Some(50_000_000), None, Some(70_000_000), None)
    );
    assert_eq!(all.as_engine(), None);
    let memory = meminfo(
        b"MemTotal: 18446744073709551615 kB\nMemFree: 5 kB\nMemAvailable:\n\xff\xfe: 1\nCached",
    );
    assert_eq!(
        (memory.total, memory.free, memory.available),
        (None, Some(5120), None)
    );
    let load = loadavg(b"x 0.5");
    assert_eq!((load.one, load.five, load.tasks), (None, Some(50), None));
    let io = pressure(b"some avg10=nan total=5\nfull total\nother avg10=1.00");
    assert_eq!(
        (io.some_10, io.some_total, io.full_total),
        (None, Some(5), None)
    );
    let cut = traffic(b"a\nb\n eth0: 5 6");
    assert_eq!(
        (cut.rx_bytes, cut.rx_packets, cut.tx_bytes),
        (Some(5), Some(6), None)
    );
    assert!(
        diskstats(b"8 0\n8 0 sdb\n\n")
            .iter()
            .all(|(_, io)| *io == DiskIo::default())
    );
}

proptest! {
    /// Whatever stands in them, the files are read without a panic.
    #[test]
    fn nothing_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        words in "([a-z0-9=:. ()-]{0,12}[ \n\t]){0,40}",
    ) {
        for text in [&bytes[..], words.as_bytes()] {
            stat(text);
            loadavg(text);
            pressure(text);
            meminfo(text);
            diskstats(text);
            interfaces(text);
            traffic(text);
        }
    }
}
