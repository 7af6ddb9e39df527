//! From what the engine says of itself to the contract.

use crate::{
    engines::docker::{
        system::{Info, Versions},
        usage::{DiskUsage, Usage},
    },
    proto,
    services::time::timestamp,
};

/// Volumes that are told one by one, at most.
const VOLUMES: usize = 1000;

pub(super) fn info(info: Info) -> proto::EngineInfo {
    proto::EngineInfo {
        storage_status: info.storage_status(),
        runtimes: info.runtimes(),
        swarm_state: info.swarm_state().to_owned(),
        time: info.time().map(timestamp),
        rootless: info
            .security_options
            .iter()
            .any(|option| option == "name=rootless"),
        id: info.id,
        name: info.name,
        version: info.server_version,
        operating_system: info.operating_system,
        os_type: info.os_type,
        architecture: info.architecture,
        kernel: info.kernel_version,
        cpus: info.cpus,
        memory_bytes: info.mem_total,
        containers_running: info.containers_running,
        containers_paused: info.containers_paused,
        containers_stopped: info.containers_stopped,
        images: info.images,
        storage_driver: info.driver,
        logging_driver: info.logging_driver,
        cgroup_driver: info.cgroup_driver,
        // Engines older than the second version do not say.
        cgroup_version: if info.cgroup_version.is_empty() {
            "1".to_owned()
        } else {
            info.cgroup_version
        },
        root_dir: info.docker_root_dir,
        default_runtime: info.default_runtime,
        volume_drivers: info.plugins.volume,
        network_drivers: info.plugins.network,
        logging_drivers: info.plugins.log,
        security_options: info.security_options,
        live_restore: info.live_restore_enabled,
        labels: info.labels,
        warnings: info.warnings,
    }
}

pub(super) fn versions(versions: Versions, spoken: String) -> proto::GetVersionResponse {
    let components = versions.components.into_iter();
    proto::GetVersionResponse {
        version: versions.version,
        api_version: versions.api_version,
        min_api_version: versions.min_api_version,
        spoken_api_version: spoken,
        git_commit: versions.git_commit,
        go_version: versions.go_version,
        os: versions.os,
        architecture: versions.arch,
        kernel: versions.kernel_version,
        build_time: versions.build_time,
        components: components
            .map(|component| proto::EngineComponent {
                name: component.name,
                version: component.version,
                details: component.details,
            })
            .collect(),
    }
}

pub(super) fn disk_usage(usage: DiskUsage) -> proto::GetDiskUsageResponse {
    let of = |usage: Usage| {
        Some(proto::DiskUsage {
            total: usage.total,
            active: usage.active,
            size_bytes: usage.bytes,
            reclaimable_bytes: usage.reclaimable,
        })
    };
    let volumes = usage.by_volume.into_iter().take(VOLUMES);
    proto::GetDiskUsageResponse {
        images: of(usage.images),
        containers: of(usage.containers),
        volumes: of(usage.volumes),
        build_cache: of(usage.build_cache),
        volume_usage: volumes
            .map(|(volume, size_bytes, containers)| proto::VolumeUsage {
                volume,
                size_bytes,
                containers,
            })
            .collect(),
    }
}
