//! Parses limits, for a new container and for one that is there.

use tonic::Status;

use crate::{engines::docker::container_state::Resources, proto, services::error::invalid};

/// Parses limits.
pub(super) fn parse(resources: proto::Resources) -> Result<Resources, Status> {
    let bytes = |field: &str, bytes: Option<u64>| {
        let signed = bytes.map(|bytes| {
            let fits = i64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
            fits.ok_or_else(|| {
                invalid(
                    field,
                    &bytes.to_string(),
                    "give 1 to 2^63-1, or leave it out",
                )
            })
        });
        signed.transpose()
    };
    let within = |field: &str, value: Option<u32>, least: u32, most: u32| match value {
        Some(value) if !(least..=most).contains(&value) => {
            let mend = format!("give {least} to {most}, or leave it out");
            Err(invalid(field, &value.to_string(), mend))
        }
        value => Ok(value),
    };
    let signed = |field: &str, value: Option<i64>| match value {
        Some(value) if value < -1 || value == 0 => {
            let mend = "give more than 0, -1 for no limit, or leave it out";
            Err(invalid(field, &value.to_string(), mend))
        }
        value => Ok(value),
    };
    if resources.cpu_limit_milli.is_some()
        && (resources.cpu_quota_us.is_some() || resources.cpu_period_us.is_some())
    {
        let mend = "give a limit, or a period and a quota";
        return Err(invalid("cpu_limit_milli", "", mend));
    }
    Ok(Resources {
        memory_bytes: bytes("memory_limit_bytes", resources.memory_limit_bytes)?,
        memory_reservation_bytes: bytes(
            "memory_reservation_bytes",
            resources.memory_reservation_bytes,
        )?,
        memory_swap_bytes: signed("memory_swap_bytes", resources.memory_swap_bytes)?,
        memory_swappiness: within("memory_swappiness", resources.memory_swappiness, 0, 100)?,
        cpu_milli: within("cpu_limit_milli", resources.cpu_limit_milli, 1, u32::MAX)?,
        cpu_shares: within("cpu_shares", resources.cpu_shares, 2, 262_144)?,
        cpu_period_us: within("cpu_period_us", resources.cpu_period_us, 1000, 1_000_000)?,
        cpu_quota_us: bytes("cpu_quota_us", resources.cpu_quota_us)?,
        cpuset_cpus: set("cpuset_cpus", resources.cpuset_cpus)?,
        cpuset_mems: set("cpuset_mems", resources.cpuset_mems)?,
        pids: signed("pids_limit", resources.pids_limit)?,
        blkio_weight: within("blkio_weight", resources.blkio_weight, 10, 1000)?,
    })
}

/// As "0-2,4".
fn set(field: &str, text: Option<String>) -> Result<Option<String>, Status> {
    match text {
        Some(text)
            if !text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b",-".contains(&byte)) =>
        {
            Err(invalid(field, &text, "write it as \"0-2,4\""))
        }
        text => Ok(text),
    }
}
