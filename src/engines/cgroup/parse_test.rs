//! cgroup files of version 1, as this kernel writes them. Version 2 is read from fixtures: see the group's tests.

use proptest::prelude::*;

use super::*;

#[test]
fn version_1_is_read_as_the_engine_reads_it() {
    let mut usage = Usage::default();
    cpuacct_usage(b"1002280250\n", &mut usage);
    cpuacct_stat(b"user 99\nsystem 1\n", &mut usage);
    cpu_stat_v1(
        b"nr_periods 5\nnr_throttled 2\nthrottled_time 700\nnr_bursts 0\n",
        &mut usage,
    );
    memory_usage(b"1753088\n", &mut usage);
    memory_stat_v1(
        b"cache 1\nrss 2\ninactive_file 3\nhierarchical_memory_limit 9223372036854771712\n\
          total_cache 1216512\ntotal_rss 57344\ntotal_swap 0\ntotal_inactive_file 1196032\n",
        &mut usage,
    );
    blkio_bytes(
        b"8:0 Read 4096\n8:0 Write 100\n8:0 Sync 5\n8:0 Total 9\n8:16 Read 4\nTotal 13\n",
        &mut usage,
    );
    blkio_operations(b"Total 0\n", &mut usage);
    pids(b"3\n", &mut usage);
    pids_max(b"max\n", &mut usage);
    assert_eq!(
        (usage.cpu, usage.cpu_user),
        (Some(1_002_280_250), Some(990_000_000))
    );
    assert_eq!(
        (usage.periods, usage.throttled_periods, usage.throttled),
        (Some(5), Some(2), Some(700))
    );
    assert_eq!(
        (usage.memory, usage.working_set),
        (Some(1_753_088), Some(557_056))
    );
    assert_eq!(
        (usage.anonymous, usage.cache, usage.swap),
        (Some(57_344), Some(1_216_512), Some(0))
    );
    assert_eq!(usage.memory_limit, None);
    assert_eq!(
        (usage.read_bytes, usage.written_bytes),
        (Some(4100), Some(100))
    );
    assert_eq!((usage.reads, usage.writes), (Some(0), Some(0)));
    assert_eq!((usage.pids, usage.pids_limit), (Some(3), None));
}

#[test]
fn a_cache_larger_than_the_usage_is_not_subtracted() {
    assert_eq!(working_set(Some(100), Some(40)), Some(60));
    assert_eq!(working_set(Some(100), Some(100)), Some(100));
    assert_eq!(working_set(Some(100), Some(200)), Some(100));
    assert_eq!(working_set(Some(100), None), None);
    assert_eq!(working_set(None, Some(1)), None);
}

#[test]
fn devices_are_told_each_by_its_number() {
    let mut found = Vec::new();
    blkio_bytes_devices(
        b"8:0 Read 4096\n8:0 Write 100\n8:0 Total 9\n253:16 Read 4\n253:16 Write max\nTotal 13\nx Read 1\n9: Read 1\n",
        &mut found,
    );
    blkio_operations_devices(b"8:0 Read 2\n8:0 Write 1\nTotal 3\n", &mut found);
    let of = |number, read_bytes, written_bytes, reads, writes| DeviceIo {
        number,
        name: String::new(),
        read_bytes,
        written_bytes,
        reads,
        writes,
    };
    let expected = [
        of((8, 0), Some(4096), Some(100), Some(2), Some(1)),
        of((253, 16), Some(4), None, None, None),
    ];
    assert_eq!(found, expected);
    let mut found = Vec::new();
    io_stat_devices(
        b"8:0 rbytes=1 wbytes=2 rios=3 wios=-4 dbytes=0\n253:0\nnone rbytes=1\n",
        &mut found,
    );
    let expected = [
        of((8, 0), Some(1), Some(2), Some(3), None),
        of((253, 0), None, None, None, None),
    ];
    assert_eq!(found, expected);
    let line = |minor: u32| format!("8:{minor} rbytes=1\n");
    let many: String = (0..5000).map(line).collect();
    io_stat_devices(many.as_bytes(), &mut found);
    assert_eq!(found.len(), DEVICES);
}

proptest! {
    #[test]
    fn nothing_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        words in "([a-z0-9_=:.-]{0,12}[ \n]){0,30}",
    ) {
        let files: [fn(&[u8], &mut Usage); 12] = [
            cpuacct_usage, cpuacct_stat, cpu_stat_v1, cpu_stat_v2, memory_usage, memory_stat_v1,
            memory_stat_v2, memory_max, blkio_bytes, blkio_operations, io_stat, pids,
        ];
        for text in [&bytes[..], words.as_bytes()] {
            for file in files {
                file(text, &mut Usage::default());
            }
            for file in [io_stat_devices, blkio_bytes_devices, blkio_operations_devices] {
                file(text, &mut Vec::new());
            }
        }
    }
}
