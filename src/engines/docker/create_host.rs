//! What of a new container has to do with its host: mounts, devices, rights, namespaces, names and logs.

use std::{collections::HashMap, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    engine::Engine,
    error::Error,
    names::{DriverName, VolumeName},
    version::ApiVersion,
};

/// What is empty or none is the engine's choice.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Host {
    pub mounts: Vec<Mount>,
    /// "name" or "name:ro".
    pub volumes_from: Vec<String>,
    pub devices: Vec<Device>,
    pub device_requests: Vec<DeviceRequest>,
    pub device_cgroup_rules: Vec<String>,
    pub capabilities_add: Vec<String>,
    pub capabilities_drop: Vec<String>,
    pub privileged: bool,
    pub security_options: Vec<String>,
    pub read_only_root: bool,
    pub init: Option<bool>,
    pub publish_all_ports: bool,
    pub dns_servers: Vec<String>,
    pub dns_options: Vec<String>,
    pub dns_search: Vec<String>,
    /// "name:address".
    pub extra_hosts: Vec<String>,
    pub sysctls: HashMap<String, String>,
    pub logging: Option<(Option<DriverName>, HashMap<String, String>)>,
    pub ipc_mode: String,
    pub pid_mode: String,
    pub uts_mode: String,
    pub userns_mode: String,
    pub cgroupns_mode: String,
    pub groups: Vec<String>,
    pub runtime: String,
    pub shm_bytes: i64,
    /// Name, soft and hard limit.
    pub ulimits: Vec<(String, i64, i64)>,
    pub oom_score_adj: i32,
    pub oom_kill_disable: bool,
    pub cgroup_parent: String,
    pub storage_options: HashMap<String, String>,
    pub annotations: HashMap<String, String>,
}

/// Something that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Mount {
    pub target: String,
    pub read_only: bool,
    pub source: MountSource,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MountSource {
    Bind {
        source: String,
        propagation: String,
        non_recursive: bool,
        create: bool,
    },
    Volume {
        name: Option<VolumeName>,
        no_copy: bool,
        subpath: String,
        driver: Option<DriverName>,
        driver_options: HashMap<String, String>,
        labels: HashMap<String, String>,
    },
    Tmpfs {
        bytes: i64,
        mode: u32,
        options: Vec<String>,
    },
}

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Device {
    pub host_path: String,
    pub container_path: String,
    pub permissions: String,
}

/// Devices that a driver gives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DeviceRequest {
    pub driver: String,
    pub count: i32,
    pub ids: Vec<String>,
    pub capabilities: Vec<Vec<String>>,
    pub options: HashMap<String, String>,
}

/// How health is checked. What is zero is the image's way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct HealthCheck {
    /// As the engine has it: "NONE", "CMD" and a program, "CMD-SHELL" and a line; or empty.
    pub test: Vec<String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub retries: u32,
    pub start_period: Duration,
    pub start_interval: Duration,
}

impl HealthCheck {
    pub(super) async fn fits(&self, engine: &Engine) -> Result<(), Error> {
        if self.start_interval.is_zero() {
            return Ok(());
        }
        let needs = ApiVersion::new(1, 44);
        engine
            .needs("start_interval of a health check", needs)
            .await
    }

    pub(super) fn json(&self) -> Value {
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let mut json = json!({
            "Test": self.test,
            "Interval": nanos(self.interval),
            "Timeout": nanos(self.timeout),
            "Retries": self.retries,
            "StartPeriod": nanos(self.start_period),
        });
        if !self.start_interval.is_zero()
            && let Some(object) = json.as_object_mut()
        {
            object.insert(
                "StartInterval".to_owned(),
                nanos(self.start_interval).into(),
            );
        }
        json
    }
}

impl Mount {
    /// What this mount needs that not every engine has.
    fn needs(&self) -> Option<(&'static str, ApiVersion)> {
        match &self.source {
            MountSource::Bind { create: true, .. } => {
                Some(("making the source of a bind mount", ApiVersion::new(1, 43)))
            }
            MountSource::Volume { subpath, .. } if !subpath.is_empty() => {
                Some(("mounting a part of a volume", ApiVersion::new(1, 45)))
            }
            MountSource::Tmpfs { options, .. } if !options.is_empty() => {
                Some(("options of a tmpfs mount", ApiVersion::new(1, 46)))
            }
            MountSource::Bind { .. } | MountSource::Volume { .. } | MountSource::Tmpfs { .. } => {
                None
            }
        }
    }

    fn json(&self) -> Value {
        let (kind, source, name, options) = match &self.source {
            MountSource::Bind {
                source,
                propagation,
                non_recursive,
                create,
            } => {
                let mut options = Map::new();
                if !propagation.is_empty() {
                    options.insert("Propagation".to_owned(), propagation.as_str().into());
                }
                for (name, on) in [
                    ("NonRecursive", non_recursive),
                    ("CreateMountpoint", create),
                ] {
                    if *on {
                        options.insert(name.to_owned(), true.into());
                    }
                }
                ("bind", source.as_str(), "BindOptions", options)
            }
            MountSource::Volume {
                name,
                no_copy,
                subpath,
                driver,
                driver_options,
                labels,
            } => {
                let mut options = Map::new();
                options.insert("NoCopy".to_owned(), (*no_copy).into());
                options.insert("Labels".to_owned(), json!(labels));
                if !subpath.is_empty() {
                    options.insert("Subpath".to_owned(), subpath.as_str().into());
                }
                if driver.is_some() || !driver_options.is_empty() {
                    let driver = driver.as_ref().map_or("local", DriverName::as_str);
                    let config = json!({ "Name": driver, "Options": driver_options });
                    options.insert("DriverConfig".to_owned(), config);
                }
                let name = name.as_ref().map_or("", VolumeName::as_str);
                ("volume", name, "VolumeOptions", options)
            }
            MountSource::Tmpfs {
                bytes,
                mode,
                options,
            } => {
                let mut json = Map::new();
                if *bytes > 0 {
                    json.insert("SizeBytes".to_owned(), (*bytes).into());
                }
                if *mode > 0 {
                    json.insert("Mode".to_owned(), (*mode).into());
                }
                if !options.is_empty() {
                    let pair = |option: &String| match option.split_once('=') {
                        Some((name, value)) => vec![name.to_owned(), value.to_owned()],
                        None => vec![option.clone()],
                    };
                    let pairs: Vec<_> = options.iter().map(pair).collect();
                    json.insert("Options".to_owned(), json!(pairs));
                }
                ("tmpfs", "", "TmpfsOptions", json)
            }
        };
        let mut json = json!({
            "Type": kind,
            "Target": self.target,
            "ReadOnly": self.read_only,
        });
        if let Some(object) = json.as_object_mut() {
            if !source.is_empty() {
                object.insert("Source".to_owned(), source.into());
            }
            object.insert(name.to_owned(), options.into());
        }
        json
    }
}

impl Host {
    /// Whether this engine can do all of it.
    pub(super) async fn fits(&self, engine: &Engine) -> Result<(), Error> {
        for (what, needs) in self.mounts.iter().filter_map(Mount::needs) {
            engine.needs(what, needs).await?;
        }
        if self.annotations.is_empty() {
            return Ok(());
        }
        engine.needs("annotations", ApiVersion::new(1, 43)).await
    }

    pub(super) fn json(&self) -> Map<String, Value> {
        let mut json = Map::new();
        let mut set = |name: &str, value: Value| {
            // What is not set is the engine's choice.
            let empty = match &value {
                Value::Null | Value::Bool(false) => true,
                Value::Number(number) => number.as_i64() == Some(0),
                Value::String(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
                Value::Object(object) => object.is_empty(),
                Value::Bool(true) => false,
            };
            if !empty {
                json.insert(name.to_owned(), value);
            }
        };
        set("Mounts", self.mounts.iter().map(Mount::json).collect());
        set("VolumesFrom", json!(self.volumes_from));
        set("Devices", self.devices.iter().map(device).collect());
        set(
            "DeviceRequests",
            self.device_requests.iter().map(device_request).collect(),
        );
        set("DeviceCgroupRules", json!(self.device_cgroup_rules));
        set("CapAdd", json!(self.capabilities_add));
        set("CapDrop", json!(self.capabilities_drop));
        set("Privileged", self.privileged.into());
        set("SecurityOpt", json!(self.security_options));
        set("ReadonlyRootfs", self.read_only_root.into());
        set("PublishAllPorts", self.publish_all_ports.into());
        set("Dns", json!(self.dns_servers));
        set("DnsOptions", json!(self.dns_options));
        set("DnsSearch", json!(self.dns_search));
        set("ExtraHosts", json!(self.extra_hosts));
        set("Sysctls", json!(self.sysctls));
        set("IpcMode", self.ipc_mode.as_str().into());
        set("PidMode", self.pid_mode.as_str().into());
        set("UTSMode", self.uts_mode.as_str().into());
        set("UsernsMode", self.userns_mode.as_str().into());
        set("CgroupnsMode", self.cgroupns_mode.as_str().into());
        set("GroupAdd", json!(self.groups));
        set("Runtime", self.runtime.as_str().into());
        set("ShmSize", self.shm_bytes.into());
        let ulimit = |(name, soft, hard): &(String, i64, i64)| json!({ "Name": name, "Soft": soft, "Hard": hard });
        set("Ulimits", self.ulimits.iter().map(ulimit).collect());
        set("OomScoreAdj", self.oom_score_adj.into());
        set("OomKillDisable", self.oom_kill_disable.into());
        set("CgroupParent", self.cgroup_parent.as_str().into());
        set("StorageOpt", json!(self.storage_options));
        set("Annotations", json!(self.annotations));
        if let Some((driver, options)) = &self.logging {
            let driver = driver.as_ref().map_or("", DriverName::as_str);
            set("LogConfig", json!({ "Type": driver, "Config": options }));
        }
        if let Some(init) = self.init {
            json.insert("Init".to_owned(), init.into());
        }
        json
    }
}

fn device(device: &Device) -> Value {
    json!({
        "PathOnHost": device.host_path,
        "PathInContainer": device.container_path,
        "CgroupPermissions": device.permissions,
    })
}

fn device_request(request: &DeviceRequest) -> Value {
    json!({
        "Driver": request.driver,
        "Count": request.count,
        "DeviceIDs": request.ids,
        "Capabilities": request.capabilities,
        "Options": request.options,
    })
}
