//! Processes by what they use.
//!
//! A process is told by its name, as the kernel has it. Its command line may hold secrets, and is read for
//! those only who ask.

use std::{collections::HashMap, fs, os::unix::fs::MetadataExt, time::Duration};

use super::{
    kept::read_once,
    root::HostRoot,
    text::{lossy, number, words},
};

const TICK_NS: u64 = 1_000_000_000 / 100;
/// Processes that are looked at, at most.
const MOST: usize = 65_536;
/// Bytes of a command line that are told, at most.
const COMMAND_LINE: usize = 4096;

/// A process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Its state, one letter.
    pub state: String,
    /// Processors that it used between two readings.
    pub cpus: Option<f64>,
    /// Its CPU time in nanoseconds.
    pub cpu: Option<u64>,
    /// Its resident memory in bytes.
    pub resident: Option<u64>,
    /// Its threads.
    pub threads: Option<u64>,
    /// Its user.
    pub uid: Option<u32>,
    /// Its command line, if it was asked for.
    pub command_line: Vec<String>,
    /// When it was started: with the pid, this names it.
    started: Option<u64>,
}

/// All processes now.
pub(crate) fn all(root: &HostRoot) -> Vec<Process> {
    let Ok(listed) = fs::read_dir(root.proc("")) else {
        return Vec::new();
    };
    let pids = listed.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        u32::try_from(number(name.as_encoded_bytes())?).ok()
    });
    pids.take(MOST)
        .filter_map(|pid| {
            let stat = read_once(root.proc(&format!("{pid}/stat"))).ok()?;
            parse(pid, &stat)
        })
        .collect()
}

/// The `count` processes that used most CPU since `before`, then as many that have most memory, each once.
pub(crate) fn top(
    root: &HostRoot,
    before: &[Process],
    mut now: Vec<Process>,
    over: Duration,
    count: usize,
    command_lines: bool,
) -> Vec<Process> {
    let before: HashMap<_, _> = before
        .iter()
        .map(|process| ((process.pid, process.started), process.cpu))
        .collect();
    for process in &mut now {
        let earlier = before.get(&(process.pid, process.started)).copied();
        // One that is new has used all of its time since.
        let spent = match (process.cpu, earlier) {
            (Some(now), Some(Some(earlier))) => now.checked_sub(earlier),
            (now, None) => now,
            _ => None,
        };
        let over = over.as_nanos() as f64;
        process.cpus = spent
            .map(|spent| spent as f64 / over)
            .filter(|cpus| cpus.is_finite());
    }
    let mut top = Vec::new();
    now.sort_unstable_by(|a, b| {
        let use_of = |process: &Process| process.cpus.unwrap_or(0.0);
        use_of(b).total_cmp(&use_of(a)).then(b.cpu.cmp(&a.cpu))
    });
    let rest = now.split_off(count.min(now.len()));
    top.append(&mut now);
    let mut rest = rest;
    rest.sort_unstable_by_key(|process| std::cmp::Reverse(process.resident));
    rest.truncate(count);
    top.append(&mut rest);
    for process in &mut top {
        let folder = root.proc(&process.pid.to_string());
        process.uid = fs::metadata(&folder).ok().map(|folder| folder.uid());
        if command_lines {
            process.command_line = command_line(&folder);
        }
    }
    top
}

fn command_line(folder: &std::path::Path) -> Vec<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let Ok(file) = fs::File::open(folder.join("cmdline")) else {
        return Vec::new();
    };
    if file
        .take(COMMAND_LINE as u64)
        .read_to_end(&mut bytes)
        .is_err()
    {
        return Vec::new();
    }
    let text = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|byte| *byte == 0)
        .map(|word| lossy(word, COMMAND_LINE))
        .collect()
}

/// "1 (name) S …": the name may hold anything, parentheses and line ends too.
fn parse(pid: u32, stat: &[u8]) -> Option<Process> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let name = stat.get(open + 1..close)?;
    let rest: Vec<&[u8]> = words(stat.get(close + 1..)?).collect();
    // The state is the third field of the file, and the first of these.
    let field = |number_of: usize| rest.get(number_of - 3).copied().and_then(number);
    let ticks =
        |user: Option<u64>, system: Option<u64>| user?.checked_add(system?)?.checked_mul(TICK_NS);
    let page = rustix::param::page_size() as u64;
    Some(Process {
        pid,
        name: lossy(name, 64),
        state: rest
            .first()
            .map(|state| lossy(state, 4))
            .unwrap_or_default(),
        cpu: ticks(field(14), field(15)),
        threads: field(20),
        started: field(22),
        resident: field(24).and_then(|pages| pages.checked_mul(page)),
        ..Process::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_called_anything() {
        let stat = b"42 (a) S \xff(b)\n) R 1 1 1 0 -1 0 0 0 0 0 7 3 0 0 20 0 5 0 900 1000 25 0\n";
        let process = parse(42, stat).unwrap_or_default();
        assert_eq!(process.name, "a) S \u{fffd}(b)\n");
        assert_eq!(process.state, "R");
        assert_eq!(process.cpu, Some(100_000_000));
        assert_eq!(process.threads, Some(5));
        assert_eq!(process.started, Some(900));
        let page = rustix::param::page_size() as u64;
        assert_eq!(process.resident, Some(25 * page));
    }

    #[test]
    fn what_is_cut_off_is_absent() {
        let process = parse(1, b"1 (x) S 1 2").unwrap_or_default();
        assert_eq!((process.cpu, process.resident), (None, None));
        for broken in [&b""[..], b"1", b"1 (x", b"1 )(", b")("] {
            assert_eq!(parse(1, broken), None, "{broken:?}");
        }
    }

    #[test]
    fn the_busiest_come_first_then_the_largest() {
        let process = |pid, cpu, resident| Process {
            pid,
            cpu: Some(cpu),
            resident: Some(resident),
            started: Some(1),
            ..Process::default()
        };
        let before = [process(1, 0, 0), process(2, 50, 0), process(3, 0, 0)];
        let now = vec![
            process(1, 10, 1),
            process(2, 60, 2),
            process(3, 500_000_000, 1),
            process(4, 0, 9),
            process(5, 0, 8),
        ];
        let root = HostRoot::under("/nowhere".into());
        let top = top(&root, &before, now, Duration::from_secs(1), 1, true);
        let pids: Vec<u32> = top.iter().map(|process| process.pid).collect();
        assert_eq!(pids, [3, 4]);
        assert_eq!(top.first().and_then(|process| process.cpus), Some(0.5));
    }
}
