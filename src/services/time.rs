//! Times, as the contract has them and as the engines do: nanoseconds since the Unix epoch.

use tonic::Status;

use super::error;

/// As the contract has them.
pub(super) fn timestamp(nanos: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: nanos.div_euclid(1_000_000_000),
        nanos: nanos.rem_euclid(1_000_000_000) as i32,
    }
}

/// As the engines have them; those that fit.
pub(super) fn nanos(field: &str, time: &prost_types::Timestamp) -> Result<i64, Status> {
    let parse = || {
        let nanos = u32::try_from(time.nanos)
            .ok()
            .filter(|nanos| *nanos < 1_000_000_000)?;
        time.seconds
            .checked_mul(1_000_000_000)?
            .checked_add(i64::from(nanos))
    };
    parse().ok_or_else(|| {
        let given = format!("{}.{:09}", time.seconds, time.nanos);
        error::invalid(field, &given, "give a time between the years 1678 and 2262")
    })
}
