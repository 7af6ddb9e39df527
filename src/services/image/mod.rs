//! `ImageService`: images of the engine, and what it does with registries.

mod convert;
pub(super) mod work;

use std::pin::Pin;

use futures_util::{Stream, stream};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use super::{
    error::{self, invalid, status},
    labels, listing, maybe_named, named,
    operation::{self, OperationEvents},
    unused,
};
use crate::{
    agent::Agent,
    engines::docker::{
        images::{ImageFilter, SavedImages},
        names::ImageRef,
        registry::{Pull, Push},
    },
    operations::Begin,
    proto::{
        ErrorReason, GetImageHistoryRequest, GetImageHistoryResponse, GetImageRequest,
        GetImageResponse, ListImagesRequest, ListImagesResponse, OperationResult,
        PruneImagesRequest, PruneImagesResponse, PullImageRequest, PushImageRequest,
        RemoveImageRequest, RemoveImageResponse, SaveImageRequest, SaveImageResponse,
        TagImageRequest, TagImageResponse, image_service_server::ImageService,
    },
};

/// Steps of an image's history, at most.
const MOST_STEPS: usize = 1000;
/// Names and ids of what was removed, at most.
const MOST_UNTAGGED: usize = 4_000;
const MOST_DELETED: usize = 16_000;
/// The engine's own JSON, at most.
const MOST_JSON: usize = 2 << 20;
/// Images in one tar, at most.
const MOST_SAVED: usize = 100;
/// A pattern of names, at most.
const MOST_REFERENCE: usize = 512;

/// Serves `ImageService`.
#[derive(Debug, Clone)]
pub struct ImageApi {
    agent: Agent,
}

impl ImageApi {
    /// The service of this agent.
    pub fn new(agent: Agent) -> Self {
        Self { agent }
    }
}

type Saved = Pin<Box<dyn Stream<Item = Result<SaveImageResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ImageService for ImageApi {
    async fn list_images(
        &self,
        request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        let request = request.into_inner();
        labels::check(&request.labels)?;
        let size = listing::size(request.page_size)?;
        check_token(&request.page_token)?;
        if request.reference.len() > MOST_REFERENCE || request.reference.contains('\0') {
            let mend = "give at most 512 bytes, for example example.com/team/*:1.*";
            return Err(invalid("reference", &request.reference, mend));
        }
        let filter = ImageFilter {
            all: request.all,
            labels: request.labels,
            reference: request.reference,
            dangling: request.dangling,
        };
        let listed = self.agent.engine().images(&filter).await;
        let images = listed.map_err(error::docker)?;
        let images = images.into_iter().map(convert::image).collect();
        let (images, next_page_token) = listing::page(images, position, &request.page_token, size);
        Ok(Response::new(ListImagesResponse {
            images,
            next_page_token,
        }))
    }

    async fn get_image(
        &self,
        request: Request<GetImageRequest>,
    ) -> Result<Response<GetImageResponse>, Status> {
        let request = request.into_inner();
        let image = named("image", &request.image)?;
        let (detail, json) = self
            .agent
            .engine()
            .image(&image)
            .await
            .map_err(error::docker)?;
        if request.include_engine_json && json.len() > MOST_JSON {
            let message = "the engine's JSON of this image is longer than 2 MiB: ask without include_engine_json";
            let limit = [("limit", "engine_json")];
            let (code, reason) = (Code::ResourceExhausted, ErrorReason::LimitReached);
            return Err(status(code, reason, message, &limit));
        }
        let engine_json = if request.include_engine_json {
            json
        } else {
            bytes::Bytes::new()
        };
        let detail = convert::detail(detail, request.include_environment_values);
        Ok(Response::new(GetImageResponse {
            image: Some(detail),
            engine_json,
        }))
    }

    async fn get_image_history(
        &self,
        request: Request<GetImageHistoryRequest>,
    ) -> Result<Response<GetImageHistoryResponse>, Status> {
        let image = named("image", &request.into_inner().image)?;
        let history = self.agent.engine().image_history(&image).await;
        let entries = history.map_err(error::docker)?;
        let mut entries: Vec<_> = entries.into_iter().map(convert::history).collect();
        let lengths = entries.iter().map(Message::encoded_len);
        entries.truncate(listing::fitting(lengths, MOST_STEPS));
        Ok(Response::new(GetImageHistoryResponse { entries }))
    }

    type PullImageStream = OperationEvents;

    async fn pull_image(
        &self,
        request: Request<PullImageRequest>,
    ) -> Result<Response<OperationEvents>, Status> {
        let mut request = request.into_inner();
        let pull = Pull {
            image: registry_name("image", &request.image)?,
            platform: maybe_named("platform", &request.platform)?,
            credentials: work::credentials(request.credentials.take())?,
            quiet_limit: work::quiet_limit(request.quiet_limit, work::QUIET)?,
        };
        let begin = Begin {
            kind: "image.pull",
            target: pull.image.to_string(),
            request_id: request.request_id.clone(),
            asked: request.encode_to_vec(),
        };
        let engine = self.agent.engine().clone();
        let watch = self.agent.operations().begin(begin, |reporter| async move {
            let tell = |step| work::tell(&reporter, step);
            let pulled = engine.pull_image(&pull, &tell).await;
            let pulled = pulled.map_err(error::docker)?;
            Ok(OperationResult {
                image_id: pulled.image_id,
                digest: pulled.digest,
                unchanged: pulled.unchanged,
                ..OperationResult::default()
            })
        });
        Ok(operation::events(watch?))
    }

    type PushImageStream = OperationEvents;

    async fn push_image(
        &self,
        request: Request<PushImageRequest>,
    ) -> Result<Response<OperationEvents>, Status> {
        let mut request = request.into_inner();
        let push = Push {
            image: plain_name("image", &request.image)?,
            credentials: work::credentials(request.credentials.take())?,
            quiet_limit: work::quiet_limit(request.quiet_limit, work::QUIET)?,
        };
        let begin = Begin {
            kind: "image.push",
            target: push.image.to_string(),
            request_id: request.request_id.clone(),
            asked: request.encode_to_vec(),
        };
        let engine = self.agent.engine().clone();
        let watch = self.agent.operations().begin(begin, |reporter| async move {
            let tell = |step| work::tell(&reporter, step);
            let pushed = engine.push_image(&push, &tell).await;
            Ok(OperationResult {
                digest: pushed.map_err(error::docker)?,
                ..OperationResult::default()
            })
        });
        Ok(operation::events(watch?))
    }

    async fn tag_image(
        &self,
        request: Request<TagImageRequest>,
    ) -> Result<Response<TagImageResponse>, Status> {
        let request = request.into_inner();
        let image = named("image", &request.image)?;
        let name = plain_name("name", &request.name)?;
        if let Some(parts) = name.parts() {
            let engine = self.agent.engine();
            let tagged = engine.tag_image(&image, parts.repository, parts.wanted());
            tagged.await.map_err(error::docker)?;
        }
        Ok(Response::new(TagImageResponse {}))
    }

    async fn remove_image(
        &self,
        request: Request<RemoveImageRequest>,
    ) -> Result<Response<RemoveImageResponse>, Status> {
        let request = request.into_inner();
        let image = named("image", &request.image)?;
        let engine = self.agent.engine();
        let removed = engine.remove_image(&image, request.force, request.keep_parents);
        let removed = removed.await.map_err(error::docker)?;
        Ok(Response::new(RemoveImageResponse {
            untagged: removed.untagged,
            deleted: removed.deleted,
        }))
    }

    async fn prune_images(
        &self,
        request: Request<PruneImagesRequest>,
    ) -> Result<Response<PruneImagesResponse>, Status> {
        let request = request.into_inner();
        let filter = unused::filter(request.filter, true)?;
        let pruned = self.agent.engine().prune_images(&filter, request.all).await;
        let mut pruned = pruned.map_err(error::docker)?;
        let all = pruned.untagged.len() + pruned.deleted.len();
        pruned.untagged.truncate(MOST_UNTAGGED);
        pruned.deleted.truncate(MOST_DELETED);
        let told = pruned.untagged.len() + pruned.deleted.len();
        Ok(Response::new(PruneImagesResponse {
            untagged: pruned.untagged,
            deleted: pruned.deleted,
            reclaimed_bytes: pruned.bytes,
            truncated: told < all,
        }))
    }

    type SaveImageStream = Saved;

    async fn save_image(
        &self,
        request: Request<SaveImageRequest>,
    ) -> Result<Response<Saved>, Status> {
        let names = request.into_inner().images;
        if names.is_empty() || names.len() > MOST_SAVED {
            let count = names.len().to_string();
            return Err(invalid("images", &count, "give 1 to 100 images"));
        }
        let images = names.iter().map(|name| named("images", name));
        let images: Vec<ImageRef> = images.collect::<Result<_, _>>()?;
        let saved = self.agent.engine().save_images(&images).await;
        let saved = saved.map_err(error::docker)?;
        // The caller's pace is the reader's, and when the caller goes, the connection to the engine does.
        let draining = self.agent.draining().clone();
        let pieces = stream::unfold(Some((saved, draining)), |state| async {
            let (saved, draining) = state?;
            piece(saved, draining).await
        });
        Ok(Response::new(Box::pin(pieces)))
    }
}

type Rest = Option<(SavedImages, CancellationToken)>;

async fn piece(
    mut saved: SavedImages,
    draining: CancellationToken,
) -> Option<(Result<SaveImageResponse, Status>, Rest)> {
    match draining.run_until_cancelled(saved.next()).await {
        None => Some((Err(error::stopping()), None)),
        Some(Ok(Some(content))) => {
            let piece = SaveImageResponse { content };
            Some((Ok(piece), Some((saved, draining))))
        }
        Some(Ok(None)) => None,
        Some(Err(failed)) => Some((Err(error::docker(failed)), None)),
    }
}

/// An image's place in the list: newest first, then by id.
fn position(image: &crate::proto::Image) -> String {
    let seconds = image.created_at.as_ref().map_or(0, |at| at.seconds);
    format!("{:016x}-{}", i64::MAX - seconds.max(0), image.id)
}

fn check_token(token: &str) -> Result<(), Status> {
    let known = token.is_empty()
        || token.split_once('-').is_some_and(|(at, id)| {
            at.len() == 16 && id.parse::<ImageRef>().is_ok_and(|id| id.parts().is_none())
        });
    if known {
        return Ok(());
    }
    let mend = "give next_page_token of the page before, or nothing for the first page";
    Err(invalid("page_token", token, mend))
}

/// A name that a registry can be asked for.
pub(super) fn registry_name(field: &str, text: &str) -> Result<ImageRef, Status> {
    let image: ImageRef = named(field, text)?;
    if image.parts().is_none() {
        let mend = "a registry knows images by their names: give one, not an id";
        return Err(invalid(field, text, mend));
    }
    Ok(image)
}

/// A name that says which image it is by its tag alone.
fn plain_name(field: &str, text: &str) -> Result<ImageRef, Status> {
    let image = registry_name(field, text)?;
    if image.parts().is_some_and(|parts| parts.digest.is_some()) {
        return Err(invalid(field, text, "leave out the digest"));
    }
    Ok(image)
}
