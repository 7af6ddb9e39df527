//! What may be typed about images, with the help for it.

use std::time::Duration;

use super::{moment, text};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  turbopanel images web-2\n  turbopanel images web-2 'registry.example/team/*'"
)]
pub(crate) struct Images {
    /// The agent's name.
    pub(crate) agent: String,
    /// Only images with such a name; "*" stands for any characters but "/".
    pub(crate) name: Option<String>,
    /// Also images that only later layers of others are built on.
    #[arg(long, short)]
    pub(crate) all: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  turbopanel pull web-2 nginx:1.29
  turbopanel pull web-2 registry.example/team/app:2 --username me --password-stdin < token

Ctrl-C cancels the pull; a second Ctrl-C leaves it to itself.")]
pub(crate) struct Pull {
    /// The agent's name.
    pub(crate) agent: String,
    /// The image.
    pub(crate) image: String,
    /// For another platform than the host's, for example linux/arm64.
    #[arg(long, value_name = "OS/ARCH", default_value = "")]
    pub(crate) platform: String,
    #[command(flatten)]
    pub(crate) registry: Registry,
    /// Returns once the pull has begun; `operations watch` shows the rest.
    #[arg(long, short)]
    pub(crate) detach: bool,
}

/// Who the caller is to the registry.
#[derive(Debug, clap::Args)]
pub(crate) struct Registry {
    /// The user at the registry.
    #[arg(long, short, requires = "password_stdin", value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Reads that user's password from standard input.
    #[arg(long, requires = "username")]
    pub(crate) password_stdin: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  turbopanel recreate web-2/app
  turbopanel recreate web-2/app --image registry.example/team/app:3

Ctrl-C cancels it, and the old container is brought back; a second Ctrl-C leaves it to itself.")]
pub(crate) struct Recreate {
    /// The agent and its container.
    #[arg(value_name = "AGENT/CONTAINER", value_parser = text::container)]
    pub(crate) container: text::Container,
    /// On this image instead of its own.
    #[arg(
        long,
        default_value = "",
        value_name = "IMAGE",
        hide_default_value = true
    )]
    pub(crate) image: String,
    /// Takes the image as it is on the host.
    #[arg(long)]
    pub(crate) no_pull: bool,
    /// Also when the image is the same.
    #[arg(long)]
    pub(crate) force: bool,
    /// How long the new container must run when it has no health check [default: 10s].
    #[arg(long, value_name = "TIME", value_parser = moment::span)]
    pub(crate) settle: Option<Duration>,
    #[command(flatten)]
    pub(crate) registry: Registry,
    /// Returns once it has begun; `operations watch` shows the rest.
    #[arg(long, short)]
    pub(crate) detach: bool,
}
