//! Containers: the engine's calls about them.

use bollard::{models::ContainerInspectResponse, query_parameters::InspectContainerOptions};

use super::{
    engine::Engine,
    error::{Error, Subject},
    names::ContainerRef,
};

impl Engine {
    /// Everything that the engine says of a container.
    pub(super) async fn inspect(
        &self,
        container: &ContainerRef,
    ) -> Result<ContainerInspectResponse, Error> {
        let name = container.as_str();
        let call = self
            .docker()
            .inspect_container(name, None::<InspectContainerOptions>);
        self.call(Subject::Container(name), call).await
    }
}
