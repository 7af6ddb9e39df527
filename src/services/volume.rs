//! `VolumeService`: volumes of the engine.

use tonic::{Request, Response, Status};

use super::{error, labels, listing, maybe_named, named, time::timestamp, unused};
use crate::{
    engines::docker::{
        Engine,
        names::VolumeName,
        volumes::{NewVolume, Volume, VolumeFilter},
    },
    proto::{
        self, CreateVolumeRequest, CreateVolumeResponse, GetVolumeRequest, GetVolumeResponse,
        ListVolumesRequest, ListVolumesResponse, PruneVolumesRequest, PruneVolumesResponse,
        RemoveVolumeRequest, RemoveVolumeResponse, volume_service_server::VolumeService,
    },
};

/// Serves `VolumeService`.
#[derive(Debug, Clone)]
pub struct VolumeApi {
    engine: Engine,
}

impl VolumeApi {
    /// The service over this engine.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl VolumeService for VolumeApi {
    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<Response<ListVolumesResponse>, Status> {
        let request = request.into_inner();
        labels::check(&request.labels)?;
        let size = listing::size(request.page_size)?;
        let filter = VolumeFilter {
            labels: request.labels,
            driver: maybe_named("driver", &request.driver)?,
            unused: request.unused,
        };
        let listed = self.engine.volumes(&filter).await;
        let (mut volumes, warnings) = listed.map_err(error::docker)?;
        volumes.retain(|volume| volume.name.contains(&request.name_contains));
        let volumes = volumes
            .into_iter()
            .map(|seen| volume(seen, false))
            .collect();
        let key = |volume: &proto::Volume| volume.name.clone();
        let (volumes, next_page_token) = listing::page(volumes, key, &request.page_token, size);
        Ok(Response::new(ListVolumesResponse {
            volumes,
            next_page_token,
            warnings,
        }))
    }

    async fn get_volume(
        &self,
        request: Request<GetVolumeRequest>,
    ) -> Result<Response<GetVolumeResponse>, Status> {
        let request = request.into_inner();
        let name: VolumeName = named("volume", &request.volume)?;
        let seen = self.engine.volume(&name).await.map_err(error::docker)?;
        let status = seen.status();
        let volume = proto::Volume {
            status,
            ..volume(seen, request.include_option_values)
        };
        Ok(Response::new(GetVolumeResponse {
            volume: Some(volume),
        }))
    }

    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let request = request.into_inner();
        labels::check(&request.labels)?;
        if request.name.len() == 1 {
            let mend = "give at least 2 characters, or none to let the engine choose";
            return Err(error::invalid("name", &request.name, mend));
        }
        let new = NewVolume {
            name: maybe_named("name", &request.name)?,
            driver: maybe_named("driver", &request.driver)?,
            options: request.options,
            labels: request.labels,
        };
        let created = self.engine.create_volume(&new).await;
        Ok(Response::new(CreateVolumeResponse {
            volume: Some(volume(created.map_err(error::docker)?, false)),
        }))
    }

    async fn remove_volume(
        &self,
        request: Request<RemoveVolumeRequest>,
    ) -> Result<Response<RemoveVolumeResponse>, Status> {
        let request = request.into_inner();
        let name: VolumeName = named("volume", &request.volume)?;
        let removed = self.engine.remove_volume(&name, request.force).await;
        removed.map_err(error::docker)?;
        Ok(Response::new(RemoveVolumeResponse {}))
    }

    async fn prune_volumes(
        &self,
        request: Request<PruneVolumesRequest>,
    ) -> Result<Response<PruneVolumesResponse>, Status> {
        let request = request.into_inner();
        let filter = unused::filter(request.filter, false)?;
        let pruned = self.engine.prune_volumes(&filter, request.named).await;
        let pruned = pruned.map_err(error::docker)?;
        Ok(Response::new(PruneVolumesResponse {
            volumes: pruned.removed,
            reclaimed_bytes: pruned.bytes,
        }))
    }
}

fn volume(volume: Volume, values: bool) -> proto::Volume {
    let created_at = volume.created().map(timestamp);
    let (labels, labels_left_out) = labels::bounded(volume.labels);
    let options = volume.options.into_iter().map(|(name, value)| {
        let value = if values { value } else { String::new() };
        (name, value)
    });
    proto::Volume {
        name: volume.name,
        driver: volume.driver,
        mountpoint: volume.mountpoint,
        created_at,
        scope: volume.scope,
        options: options.collect(),
        labels,
        labels_left_out,
        status: Default::default(),
    }
}
