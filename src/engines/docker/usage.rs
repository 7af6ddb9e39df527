//! What takes how much room. Engines from API 1.52 on count themselves; the answers of older ones are counted here, as
//! `docker system df` does.

use serde::Deserialize;

use super::{
    ask::{Ask, nullable},
    engine::Engine,
    error::{Error, Subject},
};

/// What one kind of thing takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct Usage {
    #[serde(rename = "TotalCount")]
    pub total: u32,
    #[serde(rename = "ActiveCount")]
    pub active: u32,
    #[serde(rename = "TotalSize")]
    pub bytes: u64,
    #[serde(rename = "Reclaimable")]
    pub reclaimable: u64,
}

/// What takes how much room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Images.
    pub images: Usage,
    /// What containers have written.
    pub containers: Usage,
    /// Volumes.
    pub volumes: Usage,
    /// The build cache.
    pub build_cache: Usage,
    /// Volumes by size: name, bytes, how many containers have it.
    pub by_volume: Vec<(String, u64, u32)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    layers_size: i64,
    #[serde(deserialize_with = "nullable")]
    images: Vec<Image>,
    #[serde(deserialize_with = "nullable")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "nullable")]
    volumes: Vec<Volume>,
    #[serde(deserialize_with = "nullable")]
    build_cache: Vec<Cache>,
    image_usage: Option<Usage>,
    container_usage: Option<Usage>,
    volume_usage: Option<Counted>,
    build_cache_usage: Option<Usage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Counted {
    #[serde(flatten)]
    usage: Usage,
    #[serde(deserialize_with = "nullable")]
    items: Vec<Volume>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Image {
    containers: i64,
    size: i64,
    shared_size: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Container {
    state: String,
    size_rw: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Volume {
    name: String,
    #[serde(deserialize_with = "nullable")]
    usage_data: VolumeData,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct VolumeData {
    size: i64,
    ref_count: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Cache {
    in_use: bool,
    shared: bool,
    size: i64,
}

impl Engine {
    /// What takes how much room, in as much time as the engine needs for it.
    pub async fn disk_usage(&self) -> Result<DiskUsage, Error> {
        // From API 1.52 on the engine lists single things only when asked to; older ones do not know the word.
        let ask = Ask::get("/system/df?verbose=true", Subject::Engine).long();
        let answer: Answer = self.ask(ask).await?;
        Ok(counted(answer))
    }
}

fn counted(answer: Answer) -> DiskUsage {
    let (volumes, listed) = match answer.volume_usage {
        Some(counted) => (Some(counted.usage), counted.items),
        None => (None, answer.volumes),
    };
    let mut by_volume: Vec<_> = listed
        .iter()
        .filter(|volume| volume.usage_data.size >= 0)
        .map(|volume| {
            let containers = u32::try_from(volume.usage_data.ref_count).unwrap_or(0);
            (
                volume.name.clone(),
                whole(volume.usage_data.size),
                containers,
            )
        })
        .collect();
    by_volume.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let active =
        |container: &Container| matches!(&*container.state, "running" | "paused" | "restarting");
    DiskUsage {
        images: answer
            .image_usage
            .unwrap_or_else(|| images(&answer.images, answer.layers_size)),
        containers: answer.container_usage.unwrap_or_else(|| {
            let sizes = answer.containers.iter();
            sum(sizes.map(|container| (container.size_rw, active(container))))
        }),
        volumes: volumes.unwrap_or_else(|| {
            let sizes = listed.iter().map(|volume| &volume.usage_data);
            sum(sizes.map(|data| (data.size, data.ref_count > 0)))
        }),
        build_cache: answer.build_cache_usage.unwrap_or_else(|| {
            let own = answer.build_cache.iter().filter(|cache| !cache.shared);
            Usage {
                total: answer.build_cache.len().try_into().unwrap_or(u32::MAX),
                ..sum(own.map(|cache| (cache.size, cache.in_use)))
            }
        }),
        by_volume,
    }
}

/// A size that the engine knows; it says -1 for others.
fn whole(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

fn sum(sizes: impl Iterator<Item = (i64, bool)>) -> Usage {
    let mut usage = Usage::default();
    for (size, active) in sizes {
        usage.total += 1;
        usage.bytes = usage.bytes.saturating_add(whole(size));
        if active {
            usage.active += 1;
        } else {
            usage.reclaimable = usage.reclaimable.saturating_add(whole(size));
        }
    }
    usage
}

/// Layers that images share count once, and go only with the last of them.
fn images(images: &[Image], layers: i64) -> Usage {
    let used = images.iter().filter(|image| image.containers > 0);
    let kept: u64 = used
        .clone()
        .map(|image| whole(image.size).saturating_sub(whole(image.shared_size)))
        .sum();
    Usage {
        total: images.len().try_into().unwrap_or(u32::MAX),
        active: used.count().try_into().unwrap_or(u32::MAX),
        bytes: whole(layers),
        reclaimable: whole(layers).saturating_sub(kept),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_answer_are_understood() {
        let old = r#"{"LayersSize":100,"Images":[{"Containers":1,"Size":60,"SharedSize":10},{"Containers":0,"Size":50,"SharedSize":10}],
            "Containers":[{"State":"running","SizeRw":5},{"State":"exited","SizeRw":7},{"State":"created"}],
            "Volumes":[{"Name":"a","UsageData":{"Size":3,"RefCount":1}},{"Name":"b","UsageData":{"Size":9,"RefCount":0}},{"Name":"c","UsageData":null},{"Name":"d","UsageData":{"Size":-1,"RefCount":-1}}],
            "BuildCache":null}"#;
        let usage = counted(serde_json::from_str(old).unwrap());
        let of = |total, active, bytes, reclaimable| Usage {
            total,
            active,
            bytes,
            reclaimable,
        };
        assert_eq!(usage.images, of(2, 1, 100, 50));
        assert_eq!(usage.containers, of(3, 1, 12, 7));
        assert_eq!(usage.volumes, of(4, 1, 12, 9));
        assert_eq!(usage.build_cache, Usage::default());
        assert_eq!(usage.by_volume[0], ("b".to_owned(), 9, 0));

        let new = r#"{"ImageUsage":{"ActiveCount":1,"TotalCount":2,"Reclaimable":50,"TotalSize":100,"Items":[]},
            "VolumeUsage":{"ActiveCount":1,"TotalCount":1,"TotalSize":3,"Items":[{"Name":"a","UsageData":{"Size":3,"RefCount":1}}]},
            "ContainerUsage":{},"BuildCacheUsage":{"TotalCount":4,"TotalSize":5,"Reclaimable":6}}"#;
        let usage = counted(serde_json::from_str(new).unwrap());
        assert_eq!(usage.images, of(2, 1, 100, 50));
        assert_eq!(usage.volumes, of(1, 1, 3, 0));
        assert_eq!(usage.build_cache, of(4, 0, 5, 6));
        assert_eq!(usage.by_volume, [("a".to_owned(), 3, 1)]);
    }
}
