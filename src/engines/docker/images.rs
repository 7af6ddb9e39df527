//! The engine's calls about images on its host.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use serde::Deserialize;

use super::{
    ask::{Ask, Filters, escaped, nullable, understood},
    engine::Engine,
    error::{Error, Subject},
    image::{HistoryEntry, Image, ImageDetail},
    image_error::ImageError,
    names::ImageRef,
    prune::PruneFilter,
    stream::{Stream, StreamRequest},
};

/// Which images to list.
#[derive(Debug, Clone, Default)]
pub struct ImageFilter {
    /// Also those in the middle.
    pub all: bool,
    /// With all of these labels; an empty value fits any.
    pub labels: HashMap<String, String>,
    /// With such a name; empty: any.
    pub reference: String,
    /// Without a name, or with one.
    pub dangling: Option<bool>,
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovedImages {
    /// Names.
    pub untagged: Vec<String>,
    /// Ids.
    pub deleted: Vec<String>,
    /// The room that it took, when the engine says it.
    pub bytes: u64,
}

/// One line of what was removed: a name, or an id.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Removed {
    untagged: Option<String>,
    deleted: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Pruned {
    #[serde(deserialize_with = "nullable")]
    images_deleted: Vec<Removed>,
    space_reclaimed: u64,
}

impl RemovedImages {
    fn of(removed: Vec<Removed>, bytes: u64) -> Self {
        let mut all = Self {
            bytes,
            ..Self::default()
        };
        for line in removed {
            all.untagged.extend(line.untagged);
            all.deleted.extend(line.deleted);
        }
        all
    }
}

/// Images as a tar. Dropping it ends the engine's work for it.
#[derive(Debug)]
pub struct SavedImages {
    engine: Engine,
    stream: Stream,
}

impl SavedImages {
    /// The next piece; none at the end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Self { engine, stream } = self;
        engine.while_there(stream.next()).await
    }
}

impl Engine {
    /// The images, in the engine's order.
    pub async fn images(&self, filter: &ImageFilter) -> Result<Vec<Image>, Error> {
        let mut filters = Filters::default();
        filters.labels("label", &filter.labels);
        if !filter.reference.is_empty() {
            filters.add("reference", filter.reference.as_str());
        }
        if let Some(dangling) = filter.dangling {
            filters.add("dangling", dangling.to_string());
        }
        let path = format!("/images/json?all={}&{}", filter.all, filters.query());
        self.ask(Ask::get(&path, Subject::Engine)).await
    }

    /// Everything of one image, and the engine's own words for it.
    pub async fn image(&self, image: &ImageRef) -> Result<(ImageDetail, Bytes), Error> {
        let path = format!("/images/{image}/json");
        let ask = Ask::get(&path, Subject::Image(image.as_str()));
        let json = self.ask_bytes(ask).await?.freeze();
        Ok((understood(&json)?, json))
    }

    /// How an image was made, the last step first.
    pub async fn image_history(&self, image: &ImageRef) -> Result<Vec<HistoryEntry>, Error> {
        let path = format!("/images/{image}/history");
        let ask = Ask::get(&path, Subject::Image(image.as_str()));
        self.ask(ask).await
    }

    /// Gives an image a name.
    pub async fn tag_image(
        &self,
        image: &ImageRef,
        repository: &str,
        tag: &str,
    ) -> Result<(), Error> {
        let (repository, tag) = (escaped(repository), escaped(tag));
        let path = format!("/images/{image}/tag?repo={repository}&tag={tag}");
        let ask = Ask::post(&path, "", Subject::Image(image.as_str()));
        self.order(ask).await.map_err(|error| unknown(error, image))
    }

    /// Removes a name of an image, and the image with the last one.
    pub async fn remove_image(
        &self,
        image: &ImageRef,
        force: bool,
        keep_parents: bool,
    ) -> Result<RemovedImages, Error> {
        let path = format!("/images/{image}?force={force}&noprune={keep_parents}");
        let ask = Ask::delete(&path, Subject::Image(image.as_str())).long();
        let removed: Result<Vec<Removed>, Error> = self.ask(ask).await;
        let removed = removed.map_err(|error| unknown(error, image))?;
        Ok(RemovedImages::of(removed, 0))
    }

    /// Removes images that no container uses.
    pub async fn prune_images(
        &self,
        filter: &PruneFilter,
        all: bool,
    ) -> Result<RemovedImages, Error> {
        let mut filters = filter.filters();
        filters.add("dangling", (!all).to_string());
        let path = format!("/images/prune?{}", filters.query());
        let pruned: Pruned = self
            .ask(Ask::post(&path, "", Subject::Engine).long())
            .await?;
        Ok(RemovedImages::of(
            pruned.images_deleted,
            pruned.space_reclaimed,
        ))
    }

    /// Reads images as a tar. All of them are looked for first: later the engine could only break off.
    pub async fn save_images(&self, images: &[ImageRef]) -> Result<SavedImages, Error> {
        let mut path = String::from("/images/get");
        for (number, image) in images.iter().enumerate() {
            self.image(image).await?;
            let sign = if number == 0 { '?' } else { '&' };
            path.push_str(&format!("{sign}names={}", escaped(image.as_str())));
        }
        let subject = match images {
            [image] => Subject::Image(image.as_str()),
            _ => Subject::Engine,
        };
        let request = StreamRequest {
            method: "GET",
            path: &path,
            body: "",
            upgrade: false,
            subject,
            // It writes a copy of them first.
            deadline: Duration::MAX,
        };
        let opened = self.while_there(Stream::open(self.transport(), request));
        Ok(SavedImages {
            stream: opened.await?,
            engine: self.clone(),
        })
    }
}

/// A change that was not answered is not called failed.
fn unknown(error: Error, image: &ImageRef) -> Error {
    match error {
        Error::NoAnswer { .. } => {
            let image = image.to_string();
            ImageError::OutcomeUnknown { image }.into()
        }
        error => error,
    }
}
