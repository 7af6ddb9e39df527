//! `NetworkService`: networks of the engine.

mod convert;
pub(super) mod endpoint;
mod ipam;

use tonic::{Request, Response, Status};

use super::{container::container_ref, error, labels, listing, maybe_named, named, unused};
use crate::{
    engines::docker::{
        Engine,
        names::{DriverName, NetworkName},
        networks::NewNetwork,
    },
    proto::{
        self, ConnectNetworkRequest, ConnectNetworkResponse, CreateNetworkRequest,
        CreateNetworkResponse, DisconnectNetworkRequest, DisconnectNetworkResponse,
        GetNetworkRequest, GetNetworkResponse, ListNetworksRequest, ListNetworksResponse,
        PruneNetworksRequest, PruneNetworksResponse, RemoveNetworkRequest, RemoveNetworkResponse,
        network_service_server::NetworkService,
    },
};

/// Serves `NetworkService`.
#[derive(Debug, Clone)]
pub struct NetworkApi {
    engine: Engine,
}

impl NetworkApi {
    /// The service over this engine.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl NetworkService for NetworkApi {
    async fn list_networks(
        &self,
        request: Request<ListNetworksRequest>,
    ) -> Result<Response<ListNetworksResponse>, Status> {
        let request = request.into_inner();
        labels::check(&request.labels)?;
        let size = listing::size(request.page_size)?;
        let driver: Option<DriverName> = maybe_named("driver", &request.driver)?;
        let listed = self.engine.networks(&request.labels, driver.as_ref()).await;
        let mut networks = listed.map_err(error::docker)?;
        networks.retain(|network| network.name.contains(&request.name_contains));
        let networks = networks.into_iter().map(convert::network).collect();
        // A name may be there twice on older engines; what a name cannot have stands between.
        let key = |network: &proto::Network| format!("{}\n{}", network.name, network.id);
        let (networks, next_page_token) = listing::page(networks, key, &request.page_token, size);
        Ok(Response::new(ListNetworksResponse {
            networks,
            next_page_token,
        }))
    }

    async fn get_network(
        &self,
        request: Request<GetNetworkRequest>,
    ) -> Result<Response<GetNetworkResponse>, Status> {
        let name: NetworkName = named("network", &request.into_inner().network)?;
        let seen = self.engine.network(&name).await.map_err(error::docker)?;
        Ok(Response::new(GetNetworkResponse {
            network: Some(convert::network(seen)),
        }))
    }

    async fn create_network(
        &self,
        request: Request<CreateNetworkRequest>,
    ) -> Result<Response<CreateNetworkResponse>, Status> {
        let request = request.into_inner();
        labels::check(&request.labels)?;
        let new = NewNetwork {
            name: named("name", &request.name)?,
            driver: maybe_named("driver", &request.driver)?,
            options: request.options,
            labels: request.labels,
            internal: request.internal,
            attachable: request.attachable,
            ipv6: request.ipv6,
            ipam: request.ipam.map(ipam::parse).transpose()?,
        };
        let created = self.engine.create_network(&new).await;
        let (id, warning) = created.map_err(error::docker)?;
        Ok(Response::new(CreateNetworkResponse { id, warning }))
    }

    async fn remove_network(
        &self,
        request: Request<RemoveNetworkRequest>,
    ) -> Result<Response<RemoveNetworkResponse>, Status> {
        let name: NetworkName = named("network", &request.into_inner().network)?;
        let removed = self.engine.remove_network(&name).await;
        removed.map_err(error::docker)?;
        Ok(Response::new(RemoveNetworkResponse {}))
    }

    async fn prune_networks(
        &self,
        request: Request<PruneNetworksRequest>,
    ) -> Result<Response<PruneNetworksResponse>, Status> {
        let filter = unused::filter(request.into_inner().filter, true)?;
        let pruned = self.engine.prune_networks(&filter).await;
        Ok(Response::new(PruneNetworksResponse {
            networks: pruned.map_err(error::docker)?.removed,
        }))
    }

    async fn connect_network(
        &self,
        request: Request<ConnectNetworkRequest>,
    ) -> Result<Response<ConnectNetworkResponse>, Status> {
        let request = request.into_inner();
        let name: NetworkName = named("network", &request.network)?;
        let container = container_ref(&request.container)?;
        let endpoint = request.endpoint.map(endpoint::parse).transpose()?;
        let connected = self
            .engine
            .connect_network(&name, &container, endpoint.as_ref())
            .await;
        connected.map_err(error::docker)?;
        Ok(Response::new(ConnectNetworkResponse {}))
    }

    async fn disconnect_network(
        &self,
        request: Request<DisconnectNetworkRequest>,
    ) -> Result<Response<DisconnectNetworkResponse>, Status> {
        let request = request.into_inner();
        let name: NetworkName = named("network", &request.network)?;
        let container = container_ref(&request.container)?;
        let disconnected = self
            .engine
            .disconnect_network(&name, &container, request.force)
            .await;
        disconnected.map_err(error::docker)?;
        Ok(Response::new(DisconnectNetworkResponse {}))
    }
}
