//! A host whose files are missing, or hold what nobody expects: one that makes no sense takes no other with it.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use proptest::prelude::*;

use super::*;

const FILES: [&str; 8] = [
    "proc/stat",
    "proc/loadavg",
    "proc/meminfo",
    "proc/pressure/cpu",
    "proc/pressure/io",
    "proc/diskstats",
    "proc/1/net/dev",
    "proc/1/mountinfo",
];

/// A copy of the host of fixtures, which may be written to.
struct Copied(tempfile::TempDir);

impl Copied {
    fn new() -> Self {
        let copied = Self(tempfile::tempdir().unwrap());
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/host");
        for file in FILES.iter().chain(&["proc/pressure/memory"]) {
            copied.write(file, &fs::read(from.join(file)).unwrap());
        }
        copied
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn write(&self, file: &str, text: &[u8]) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Whatever was opened before sees it, as with the kernel's files.
        fs::write(path, text).unwrap();
    }

    fn root(&self) -> HostRoot {
        HostRoot::under(self.0.path().to_owned())
    }
}

/// What is told of each file, in their order.
fn figures(sample: &HostSample) -> [String; 8] {
    let mounts: Vec<_> = sample
        .file_systems
        .iter()
        .map(|one| (&one.mount_point, &one.device))
        .collect();
    [
        format!("{:?} {:?}", sample.cpu, sample.cores),
        format!("{:?}", sample.load),
        format!("{:?}", sample.memory),
        format!("{:?}", sample.pressure[0]),
        format!("{:?}", sample.pressure[2]),
        format!("{:?}", sample.disks),
        format!("{:?}", sample.interfaces),
        format!("{mounts:?}"),
    ]
}

async fn read(reader: &mut HostReader) -> HostSample {
    reader.read(UNIX_EPOCH, Duration::ZERO).await
}

#[tokio::test]
async fn a_file_that_makes_no_sense_takes_no_other_with_it() {
    let huge: Vec<u8> = b"9".repeat(3 * 1024 * 1024);
    let negative =
        b"cpu -1 -2 -3 -4 -5\n-0.5 -1 -2 -3/-4\nMemTotal: -5 kB\nsome avg10=-1 total=-5\n\
        8 0 sda -1 -1 -1 -1\n eth9: -1 -1 -1\n";
    let surprising: [&[u8]; 8] = [
        b"",
        b"\n\n\n",
        b"\0\0\0\0",
        &huge,
        negative,
        b"\xff\xfe\xfd \xff: \xff\n\xff\xff\xff",
        b"max max max max\n",
        b"cpu 99999999999999999999999 1e9 0x10 nan inf\n99999999999999999999.5 1 1 1/99999999999999999999\n",
    ];
    let whole = figures(&read(&mut HostReader::new(Copied::new().root())).await);
    for (index, file) in FILES.iter().enumerate() {
        for text in surprising {
            let host = Copied::new();
            let mut reader = HostReader::new(host.root());
            host.write(file, text);
            let told = figures(&read(&mut reader).await);
            let begin = String::from_utf8_lossy(&text[..text.len().min(20)]).into_owned();
            for (other, (told, whole)) in told.iter().zip(&whole).enumerate() {
                let same = told == whole;
                assert_eq!(same, other != index, "{file} with {begin:?}: {told}");
            }
            // Once it makes sense again, so do its figures: the file is read anew, open or not.
            host.write(file, &fs::read(Copied::new().path(file)).unwrap());
            if *file != "proc/1/mountinfo" {
                assert_eq!(figures(&read(&mut reader).await), whole, "{file}");
            }
        }
    }
}

#[tokio::test]
async fn a_missing_file_is_told_and_found_when_it_is_there() {
    for (index, file) in FILES.iter().enumerate() {
        let host = Copied::new();
        let whole = fs::read(host.path(file)).unwrap();
        fs::remove_file(host.path(file)).unwrap();
        let mut reader = HostReader::new(host.root());
        let sample = read(&mut reader).await;
        let told: Vec<_> = sample.missing.iter().map(|one| &*one.source).collect();
        let path = host.path(file);
        assert!(told.contains(&path.to_str().unwrap()), "{file}: {told:?}");
        host.write(file, &whole);
        let again = read(&mut reader).await;
        let told: Vec<_> = again.missing.iter().map(|one| &*one.source).collect();
        assert!(!told.contains(&path.to_str().unwrap()), "{file}: {told:?}");
        assert_ne!(figures(&sample)[index], figures(&again)[index], "{file}");
    }
    // A host without any of them is no reason to stop.
    let nothing = tempfile::tempdir().unwrap();
    let root = HostRoot::under(nothing.path().to_owned());
    let sample = read(&mut HostReader::new(root.clone())).await;
    assert_eq!(sample.cpu, Cpu::default());
    assert!(sample.missing.len() >= FILES.len(), "{:?}", sample.missing);
    assert_eq!(crate::engines::host::read(&root).cpus, 0);
}

/// Cut anywhere, as by a reading that ended too soon.
#[tokio::test]
async fn a_file_that_is_cut_off_tells_what_is_whole() {
    let host = Copied::new();
    let mut reader = HostReader::new(host.root());
    for file in FILES {
        let whole = fs::read(host.path(file)).unwrap();
        for length in (0..whole.len()).step_by(5) {
            host.write(file, &whole[..length]);
            read(&mut reader).await;
        }
        host.write(file, &whole);
    }
    host.write("proc/meminfo", b"MemTotal: 5 kB\nMemFree");
    let memory = read(&mut reader).await.memory;
    assert_eq!((memory.total, memory.free), (Some(5120), None));
}

#[tokio::test]
async fn processors_come_and_go_between_two_readings() {
    let host = Copied::new();
    let mut reader = HostReader::new(host.root());
    let numbers = |sample: &HostSample| -> Vec<u32> {
        sample.cores.iter().map(|(number, _)| *number).collect()
    };
    for (text, expected) in [
        (
            "cpu 3 0 0 9\ncpu0 1 0 0 3\ncpu1 2 0 0 6\nintr 0\n",
            vec![0, 1],
        ),
        ("cpu 3 0 0 9\ncpu0 1 0 0 3\nintr 0\n", vec![0]),
        (
            "cpu 9 0 0 9\ncpu0 1 0 0 3\ncpu7 8 0 0 6\nintr 0\n",
            vec![0, 7],
        ),
        ("intr 0\n", vec![]),
    ] {
        host.write("proc/stat", text.as_bytes());
        assert_eq!(numbers(&read(&mut reader).await), expected);
    }
}

/// Of a file beyond the bound the last line is not taken for another number.
#[tokio::test]
async fn what_is_cut_at_the_bound_is_cut_at_a_lines_end() {
    let host = Copied::new();
    let line = |minor: usize| format!("8 {minor} disk{minor}p 1 1 1234567 1 1 1 1 1 1 1\n");
    let text: String = (0..60_000).map(line).collect();
    host.write("proc/diskstats", text.as_bytes());
    let line = "  eth0: 1234567 1 1 1 1 1 1 1 1234567 1 1 1 1 1 1 1\n";
    let head = "Inter-|   Receive\n face |bytes\n";
    host.write(
        "proc/1/net/dev",
        format!("{head}{}", line.repeat(40_000)).as_bytes(),
    );
    let sample = read(&mut HostReader::new(host.root())).await;
    assert_eq!(sample.disks.len(), parse::MOST);
    assert_eq!(sample.interfaces.len(), parse::MOST);
    let bytes = |(_, io): &(String, DiskIo)| io.read_bytes == Some(1_234_567 * 512);
    assert!(sample.disks.iter().all(bytes));
}

#[tokio::test]
async fn names_may_be_any_bytes() {
    let host = Copied::new();
    host.write("proc/diskstats", b"8 0 sd\xff 1 1 2 1 1 1 1 1 1 1\n");
    host.write(
        "proc/1/net/dev",
        b"a\nb\n e\xfe\xfd: 7 1 1 1 1 1 1 1 1 1 1 1\n",
    );
    let point = "/data/\u{fffd}x";
    let folder = host.0.path().join(OsStr::from_bytes(b"data/\xffx"));
    fs::create_dir_all(folder).unwrap();
    host.write(
        "proc/1/mountinfo",
        b"1 2 8:1 / /data/\xffx rw - ext4 /dev/\xff rw\n",
    );
    host.write(
        "proc/77/stat",
        b"77 (\xff\n) S 1 1 1 0 -1 0 0 0 0 0 7 3 0 0 20 0 5 0 900 1000 25 0\n",
    );
    host.write("proc/77/cmdline", b"\xff\0-x\0");
    let sample = read(&mut HostReader::new(host.root())).await;
    assert_eq!(sample.disks[0].0, "sd\u{fffd}");
    assert_eq!(sample.interfaces[0].0, "e\u{fffd}\u{fffd}");
    assert_eq!(sample.file_systems[0].mount_point, point);
    // It was found by its true name: there is a folder, on another disk.
    let reason = &sample.missing.iter().find(|one| one.source == point);
    assert!(
        reason.is_some_and(|one| one.reason.contains("does not see it")),
        "{:?}",
        sample.missing
    );
    let now = crate::engines::host::processes::all(&host.root());
    let over = Duration::from_secs(1);
    let top = crate::engines::host::processes::top(&host.root(), &[], now, over, 5, true);
    assert_eq!((top[0].pid, top[0].name.as_str()), (77, "\u{fffd}\n"));
    assert_eq!(top[0].command_line, ["\u{fffd}", "-x"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Whatever stands in all of them.
    #[test]
    fn nothing_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        words in "([a-z0-9=:. ()/-]{0,12}[ \n\t]){0,40}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let host = Copied::new();
        let mut reader = HostReader::new(host.root());
        for text in [&bytes[..], words.as_bytes()] {
            for file in FILES {
                host.write(file, text);
            }
            for file in ["proc/uptime", "proc/5/stat", "etc/hostname", "sys/devices/system/cpu/online"] {
                host.write(file, text);
            }
            runtime.block_on(read(&mut reader));
            crate::engines::host::read(&host.root());
            crate::engines::host::processes::all(&host.root());
        }
    }
}
