//! The labels that an image gives its containers.

use std::collections::HashMap;

use super::{
    engine::Engine,
    error::{Error, Subject},
    names::ImageRef,
};

impl Engine {
    /// The labels of an image that is on the host.
    pub async fn image_labels(&self, image: &ImageRef) -> Result<HashMap<String, String>, Error> {
        let call = self.docker().inspect_image(image.as_str());
        let found = self.call(Subject::Engine, call).await?;
        let config = found.config.unwrap_or_default();
        Ok(config.labels.unwrap_or_default())
    }
}
