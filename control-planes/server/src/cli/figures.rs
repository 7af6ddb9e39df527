//! Ages and sizes as people read them.

use std::time::Duration;

/// An age in its largest unit: `12s`, `5m`, `3h`, `9d`.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        86_400..31_536_000 => format!("{}d", seconds / 86_400),
        _ => format!("{}y", seconds / 31_536_000),
    }
}

/// A size in binary units with three digits: `512 B`, `1.50 GiB`, `117 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        // What would be rounded up to 1024 belongs to the next unit.
        if value < 1023.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    let digits = if value < 9.995 {
        2
    } else {
        usize::from(value < 99.95)
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let told = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 31_536_000]
            .map(|s| age(Duration::from_secs(s)));
        assert_eq!(told, ["0s", "59s", "1m", "59m", "1h", "23h", "1d", "1y"]);
    }

    #[test]
    fn sizes_have_three_digits() {
        let told = [
            0,
            1_023,
            1_024,
            10_240,
            1_048_064,
            1_073_741_824 * 3 / 2,
            u64::MAX,
        ]
        .map(size);
        assert_eq!(
            told,
            [
                "0 B", "1023 B", "1.00 KiB", "10.0 KiB", "1.00 MiB", "1.50 GiB", "16.0 EiB"
            ]
        );
    }
}
