//! The last lines of many logs together.

use futures_util::{StreamExt, stream};

use super::{
    engine::Engine, error::Error, lines::Line, logs::LogRequest, position::Position,
    source::OVERHEAD,
};

/// So many logs are read at a time.
const AT_A_TIME: usize = 4;
/// The last lines of all have so many bytes, at most.
const MOST_BYTES: usize = 16 << 20;

/// The last lines of each log, in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Last {
    /// The source, the place before its first line here, and its lines.
    pub(super) logs: Vec<(u32, Position, Vec<Line>)>,
    /// Logs that cannot be read.
    pub(super) unreadable: Vec<(u32, Error)>,
}

/// A log's last lines, while the newest of all are looked for.
#[derive(Debug)]
struct Log {
    index: u32,
    /// Behind the lines that were left out.
    place: Position,
    /// Each with the time that orders it: never before those that the log has before it.
    lines: Vec<(i64, Line)>,
}

/// Reads the last lines of each, and keeps the newest of all.
pub(super) async fn last(
    engine: &Engine,
    requests: Vec<(u32, LogRequest)>,
    most: u32,
) -> Result<Last, Error> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let reading = requests.into_iter().map(|(index, request)| async move {
        let read = read(engine, request).await;
        (index, read)
    });
    let mut reading = stream::iter(reading).buffer_unordered(AT_A_TIME);
    let mut last = Last::default();
    let mut logs: Vec<Log> = Vec::new();
    while let Some((index, read)) = reading.next().await {
        match read {
            Ok(lines) => logs.push(Log {
                index,
                place: Position::default(),
                lines,
            }),
            Err(
                error @ (Error::Unreachable { .. }
                | Error::NoAnswer { .. }
                | Error::AccessDenied { .. }
                | Error::TailTooLong { .. }),
            ) => return Err(error),
            Err(error) => last.unreadable.push((index, error)),
        }
        let held: usize = logs.iter().map(|log| log.lines.len()).sum();
        if held > most.saturating_mul(2) {
            keep_newest(&mut logs, most);
        }
        let lines = logs.iter().flat_map(|log| &log.lines);
        let bytes: usize = lines.map(|(_, line)| line.content.len() + OVERHEAD).sum();
        if bytes > MOST_BYTES {
            keep_newest(&mut logs, most);
            let lines = logs.iter().flat_map(|log| &log.lines);
            if lines
                .map(|(_, line)| line.content.len() + OVERHEAD)
                .sum::<usize>()
                > MOST_BYTES
            {
                return Err(Error::TailTooLong { most: MOST_BYTES });
            }
        }
    }
    keep_newest(&mut logs, most);
    last.logs = logs
        .into_iter()
        .map(|log| {
            let lines = log.lines.into_iter().map(|(_, line)| line);
            (log.index, log.place, lines.collect())
        })
        .collect();
    Ok(last)
}

async fn read(engine: &Engine, request: LogRequest) -> Result<Vec<(i64, Line)>, Error> {
    let mut logs = engine.logs(request).await?;
    let (mut all, mut batch) = (Vec::new(), Vec::new());
    let (mut newest, mut bytes) = (i64::MIN, 0);
    loop {
        let end = logs.next(&mut batch).await?;
        for mut line in batch.drain(..) {
            newest = newest.max(line.time);
            bytes += line.content.len() + OVERHEAD;
            // Copied, so that a short line does not hold everything that was read with it.
            line.content = bytes::Bytes::copy_from_slice(&line.content);
            all.push((newest, line));
        }
        if bytes > MOST_BYTES {
            return Err(Error::TailTooLong { most: MOST_BYTES });
        }
        if end.is_some() {
            return Ok(all);
        }
    }
}

/// Leaves out the oldest lines of all until so many are left.
fn keep_newest(logs: &mut [Log], most: usize) {
    let held: usize = logs.iter().map(|log| log.lines.len()).sum();
    let Some(surplus) = held.checked_sub(most).filter(|surplus| *surplus > 0) else {
        return;
    };
    let mut order: Vec<(i64, usize)> = logs
        .iter()
        .enumerate()
        .flat_map(|(at, log)| log.lines.iter().map(move |(time, _)| (*time, at)))
        .collect();
    order.sort_unstable();
    let mut left_out = vec![0; logs.len()];
    for (_, at) in order.into_iter().take(surplus) {
        if let Some(count) = left_out.get_mut(at) {
            *count += 1;
        }
    }
    for (log, count) in logs.iter_mut().zip(left_out) {
        for (_, line) in log.lines.drain(..count) {
            log.place.push(&line);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn log(index: u32, times: &[i64]) -> Log {
        let line = |time: i64| Line {
            time,
            stderr: false,
            content: bytes::Bytes::new(),
            partial: false,
        };
        let mut newest = 0;
        let lines = times.iter().map(|time| {
            newest = newest.max(*time);
            (newest, line(*time))
        });
        Log {
            index,
            place: Position::default(),
            lines: lines.collect(),
        }
    }

    #[test]
    fn the_newest_of_all_are_kept_in_the_order_of_their_logs() {
        // The second log's clock was set back.
        let mut logs = [log(1, &[1, 4, 9]), log(2, &[8, 3, 5]), log(3, &[2])];
        keep_newest(&mut logs, 4);
        let kept = |log: &Log| {
            log.lines
                .iter()
                .map(|(_, line)| line.time)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            logs.iter().map(kept).collect::<Vec<_>>(),
            [vec![9], vec![8, 3, 5], vec![]]
        );
        let anchors = logs[0].place.anchors();
        assert_eq!((anchors.len(), anchors[0].time), (1, 4));
        keep_newest(&mut logs, 0);
        assert_eq!(logs[1].place.anchors().len(), 2);
        keep_newest(&mut logs, 0);
    }
}
