//! Where in a big file the lines since some time begin, without reading what comes before.
//!
//! Times are nearly in order: a clock is set back now and then, two streams' lines pass each other, and the pieces of a
//! long line have the time of its beginning. So the search looks for an earlier time than the one that is wanted, and
//! does not go by pieces; what it leaves is read through. Only newlines are gone by, which no container can
//! forge inside of a record; the `local` driver has nothing of that kind.

use std::io;

use super::{
    file::File,
    record::{Format, Parser, Step},
};

/// A clock is set back by no more than this, in nanoseconds.
const SET_BACK: i64 = 3600 * 1_000_000_000;
/// So much is read through anyway.
const SMALL: u64 = 32 << 20;
/// So much is looked at in one place.
const BLOCK: usize = 64 << 10;

/// The place of a record before which there is none of this time or a later one.
pub(super) async fn find(format: Format, file: &mut File, end: u64, since: i64) -> io::Result<u64> {
    let earlier = since.saturating_sub(SET_BACK);
    let (mut low, mut high) = (0, end);
    let mut block = vec![0; BLOCK];
    while format == Format::Json && high - low > SMALL {
        let middle = low + (high - low) / 2;
        let read = file.read_at(&mut block, middle).await?;
        match latest(block.get(..read).unwrap_or_default()) {
            Some((begin, time)) if time < earlier => low = middle + begin as u64,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Where the first record begins, and the latest time of those that are whole lines.
fn latest(block: &[u8]) -> Option<(usize, i64)> {
    let begin = memchr::memchr(b'\n', block)? + 1;
    let mut parser = Parser::new(Format::Json);
    let mut latest = None;
    // Whether what comes next of a stream begins a line. It is not known of the first.
    let mut begins = [false; 2];
    let mut at = begin;
    while let Step::Record(record) = parser.step(block.get(at..).unwrap_or_default()) {
        at += record.length;
        let stream = usize::from(record.stderr == Some(true));
        // With escapes it is not known either.
        let ends = !record.escaped && !record.partial;
        if let Some(begins) = begins.get_mut(stream) {
            if *begins && ends {
                latest = latest.max(Some(record.time));
            }
            *begins = ends;
        }
    }
    latest.map(|latest| (begin, latest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{io::Write, path::Path};

    use super::{super::file::Folder, *};

    /// A file of 100 MB with a record each second, and long lines that began an hour before.
    #[tokio::test]
    async fn what_is_left_out_is_all_earlier() {
        let folder = tempfile::tempdir().unwrap();
        let mut file =
            io::BufWriter::new(std::fs::File::create(folder.path().join("log")).unwrap());
        let text = "x".repeat(2000);
        let record = |n: i64, end: &str| {
            let (hours, minutes, seconds) = (n / 3600, n / 60 % 60, n % 60);
            format!(
                "{{\"log\":\"{text}{end}\",\"stream\":\"stdout\",\"time\":\"2026-01-{:02}T{:02}:{minutes:02}:{seconds:02}Z\"}}\n",
                1 + hours / 24,
                hours % 24
            )
        };
        let (mut ends, mut size) = (Vec::new(), 0);
        for n in 0..50_000 {
            // A tenth of all are pieces of long lines.
            let piece = n % 1000 >= 900;
            let time = if piece {
                (n - n % 1000 - 3600).max(0)
            } else {
                n
            };
            let record = record(time, if piece { "" } else { "\\n" });
            file.write_all(record.as_bytes()).unwrap();
            size += record.len() as u64;
            ends.push((size, n));
        }
        file.flush().unwrap();
        let folder = Folder::open(folder.path(), Path::new("/")).unwrap();
        let mut file = folder.file("log").unwrap().unwrap();
        let start = 1_767_225_600;
        for second in [0, 1, 3599, 10_000, 25_000, 49_999, 60_000, 1_000_000] {
            let since = (start + second) * 1_000_000_000;
            let place = find(Format::Json, &mut file, size, since).await.unwrap();
            // It is the end of a record, or the beginning of all.
            let before = ends.partition_point(|(end, _)| *end <= place);
            assert!(place == 0 || ends.iter().any(|(end, _)| *end == place));
            assert!(ends.iter().take(before).all(|(_, n)| *n < second));
            // And not much is left that is earlier.
            let wanted = usize::try_from(second).unwrap().min(ends.len());
            let left = ends.get(before..wanted).unwrap_or_default().len();
            assert!(left < 24_000, "{left} records are read through");
            assert_eq!(
                find(Format::Local, &mut file, size, since).await.unwrap(),
                0
            );
        }
    }
}
