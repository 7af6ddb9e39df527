//! Images out of an archive that the caller sends: builds and loads.

use std::{collections::HashMap, time::Duration};

use prost::Message;
use tonic::{Status, Streaming};

use super::{plain_name, work};
use crate::{
    agent::Agent,
    engines::docker::{
        Error,
        image_build::Build,
        upload::{Incoming, Input, Piece, incoming},
    },
    operations::{Begin, Watch},
    proto::{
        BuildImageOptions, BuildImageRequest, LoadImageRequest, OperationResult,
        build_image_request, load_image_request,
    },
    services::{
        error::{self, invalid},
        labels, maybe_named, named,
    },
};

/// Steps of a build may be silent.
const BUILD_QUIET: Duration = Duration::from_secs(3600);
/// Names of one image, and registries that one build has credentials for, at most.
const MOST_NAMES: usize = 20;
/// All that a build is given beside its context, at most: the engine takes it in the first line of a request.
const MOST_OPTIONS: usize = 256 << 10;

/// A message of a caller's: the archive's next piece, if it is one.
trait Step {
    fn content(self) -> Option<bytes::Bytes>;
}

impl Step for BuildImageRequest {
    fn content(self) -> Option<bytes::Bytes> {
        match self.step {
            Some(build_image_request::Step::Content(content)) => Some(content),
            Some(build_image_request::Step::Options(_)) | None => None,
        }
    }
}

impl Step for LoadImageRequest {
    fn content(self) -> Option<bytes::Bytes> {
        match self.step {
            Some(load_image_request::Step::Content(content)) => Some(content),
            Some(load_image_request::Step::Options(_)) | None => None,
        }
    }
}

pub(super) async fn load(
    agent: &Agent,
    mut messages: Streaming<LoadImageRequest>,
) -> Result<Watch, Status> {
    let first = messages.message().await?.and_then(|first| first.step);
    let Some(load_image_request::Step::Options(options)) = first else {
        return Err(no_options());
    };
    let limit = work::quiet_limit(options.quiet_limit, work::QUIET)?;
    let begin = Begin {
        kind: "image.load",
        target: String::new(),
        request_id: options.request_id.clone(),
        asked: options.encode_to_vec(),
    };
    let engine = agent.engine().clone();
    agent.operations().begin(begin, |reporter| async move {
        let tell = |step| work::tell(&reporter, step);
        let loading = |archive| engine.load_images(archive, limit, &tell);
        let loaded = fed(messages, loading).await;
        Ok(OperationResult {
            image_id: loaded.map_err(error::docker)?.unwrap_or_default(),
            ..OperationResult::default()
        })
    })
}

pub(super) async fn build(
    agent: &Agent,
    mut messages: Streaming<BuildImageRequest>,
) -> Result<Watch, Status> {
    let first = messages.message().await?.and_then(|first| first.step);
    let Some(build_image_request::Step::Options(mut options)) = first else {
        return Err(no_options());
    };
    let credentials = std::mem::take(&mut options.credentials);
    let asked = options.encode_to_vec();
    if asked.len() > MOST_OPTIONS {
        let length = asked.len().to_string();
        return Err(invalid(
            "options",
            &length,
            "give at most 256 KiB of options",
        ));
    }
    let begin = Begin {
        kind: "image.build",
        target: options.tags.first().cloned().unwrap_or_default(),
        request_id: options.request_id.clone(),
        asked,
    };
    let build = parse(options, credentials)?;
    let engine = agent.engine().clone();
    agent.operations().begin(begin, |reporter| async move {
        let tell = |step| work::tell(&reporter, step);
        let building = |context| engine.build_image(&build, context, &tell);
        let built = fed(messages, building).await;
        Ok(OperationResult {
            image_id: built.map_err(error::docker)?,
            ..OperationResult::default()
        })
    })
}

/// Does the work with what the messages bring.
async fn fed<M, T, F>(messages: Streaming<M>, work: impl FnOnce(Incoming) -> F) -> Result<T, Error>
where
    M: Step + Send + 'static,
    F: Future<Output = Result<T, Error>>,
{
    let (input, incoming) = incoming();
    let feeding = async {
        feed(messages, input).await;
        std::future::pending().await
    };
    tokio::select! {
        biased;
        done = work(incoming) => done,
        never = feeding => never,
    }
}

/// Passes the pieces on. Ended before the caller has said that there are no more, it leaves the archive cut off.
async fn feed<M: Step>(mut messages: Streaming<M>, input: Input) {
    loop {
        let piece = match messages.message().await {
            Ok(Some(message)) => match message.content() {
                Some(content) => Piece::Content(content),
                None => return,
            },
            Ok(None) => Piece::End,
            Err(_) => return,
        };
        let last = matches!(piece, Piece::End);
        if input.send(piece).await.is_err() || last {
            return;
        }
    }
}

fn parse(
    options: BuildImageOptions,
    credentials: HashMap<String, crate::proto::RegistryCredentials>,
) -> Result<Build, Status> {
    let dockerfile = match options.dockerfile.as_str() {
        "" => "Dockerfile",
        path => path,
    };
    let leaves = |path: &str| path.starts_with('/') || path.split('/').any(|part| part == "..");
    if leaves(dockerfile) || dockerfile.contains('\0') {
        let mend = "give a path in the context, without \"..\"";
        return Err(invalid("dockerfile", dockerfile, mend));
    }
    for (field, count) in [
        ("tags", options.tags.len()),
        ("credentials", credentials.len()),
    ] {
        if count > MOST_NAMES {
            return Err(invalid(field, &count.to_string(), "give at most 20"));
        }
    }
    for name in options.args.keys() {
        if name.is_empty() || name.contains(['=', '\0']) {
            let mend = "an argument's name is not empty and has no \"=\"";
            return Err(invalid("args", name, mend));
        }
    }
    labels::check(&options.labels.clone().into_iter().collect())?;
    let credentials = credentials.into_iter().map(|(registry, given)| {
        let registry = named("credentials", &registry)?;
        let given = work::credentials(Some(given))?;
        Ok::<_, Status>(given.map(|given| (registry, given)))
    });
    let memory = i64::try_from(options.memory_limit_bytes).map_err(|_| {
        let given = options.memory_limit_bytes.to_string();
        invalid("memory_limit_bytes", &given, "give less than 2^63")
    });
    Ok(Build {
        dockerfile: dockerfile.to_owned(),
        tags: options
            .tags
            .iter()
            .map(|tag| plain_name("tags", tag))
            .collect::<Result<_, _>>()?,
        args: options.args,
        target: options.target,
        labels: options.labels,
        no_cache: options.no_cache,
        pull: options.pull,
        platform: maybe_named("platform", &options.platform)?,
        memory_bytes: Some(memory?).filter(|bytes| *bytes > 0),
        cpu_milli: Some(options.cpu_limit_milli).filter(|milli| *milli > 0),
        network: maybe_named("network", &options.network)?,
        credentials: credentials
            .filter_map(Result::transpose)
            .collect::<Result<_, _>>()?,
        quiet_limit: work::quiet_limit(options.quiet_limit, BUILD_QUIET)?,
    })
}

fn no_options() -> Status {
    let message = "the first message holds the options, and those after it the archive";
    invalid("step", "", message)
}
