//! Stacks as the engine shows them: containers that `docker compose` has labelled, whoever called it.
//!
//! A label is anything that somebody wrote: it is shown, and never followed from here.

use std::collections::{BTreeMap, HashMap};

use super::names::{ServiceName, StackName};
use crate::engines::docker::{
    Engine, Error,
    container::{Container, PROJECT, SERVICE, State},
};

const NUMBER: &str = "com.docker.compose.container-number";
const ONE_OFF: &str = "com.docker.compose.oneoff";
const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
const ENVIRONMENT_FILES: &str = "com.docker.compose.project.environment_file";
/// Labels that say what a stack was made of.
pub(super) const SOURCES: [&str; 3] = [WORKING_DIR, CONFIG_FILES, ENVIRONMENT_FILES];
/// A label that names files is read this far, and so many of them.
const LONGEST_LABEL: usize = 64 * 1024;
const MOST_FILES: usize = 32;

/// A stack that has containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: StackName,
    /// Services that have containers, by name.
    pub services: BTreeMap<String, Service>,
    /// When its oldest container was made, in nanoseconds since the Unix epoch.
    pub created: Option<i64>,
    /// What its newest container's labels say.
    pub source: Source,
}

/// The containers of a service, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The image of one of them.
    pub image: String,
    /// All of them.
    pub containers: u32,
    /// Those that run.
    pub running: u32,
}

/// What a stack was made of, as its labels say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// The container whose labels these are.
    pub container: String,
    /// The id of its image.
    pub image: String,
    /// When it was made, in nanoseconds since the Unix epoch.
    pub created: i64,
    /// The project's directory.
    pub working_dir: String,
    /// Its compose files.
    pub config_files: Vec<String>,
    /// Its files of environment variables.
    pub env_files: Vec<String>,
}

/// A container of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its service. Empty when the label is no service's name.
    pub service: String,
    /// Counts the service's containers.
    pub number: u32,
    /// Made by `docker compose run`.
    pub one_off: bool,
    /// The container.
    pub container: Container,
}

/// Every stack that has containers, by name.
pub async fn all(engine: &Engine) -> Result<Vec<Listed>, Error> {
    let labels = HashMap::from([(PROJECT.to_owned(), String::new())]);
    let mut stacks = BTreeMap::<StackName, Vec<Container>>::new();
    for container in engine.containers(true, &labels).await? {
        let name = container.labels.get(PROJECT).map(|name| name.parse());
        // Containers with another name were not made by compose.
        if let Some(Ok(name)) = name {
            stacks.entry(name).or_default().push(container);
        }
    }
    let stacks = stacks.into_iter();
    Ok(stacks.filter_map(|(name, of)| listed(name, &of)).collect())
}

/// One stack; none when it has no containers.
pub async fn one(engine: &Engine, name: &StackName) -> Result<Option<Listed>, Error> {
    let containers = of(engine, name).await?;
    Ok(listed(name.clone(), &containers))
}

/// The containers of a stack, in no order.
pub async fn members(engine: &Engine, name: &StackName) -> Result<Vec<Member>, Error> {
    let containers = of(engine, name).await?;
    Ok(containers.into_iter().map(member).collect())
}

async fn of(engine: &Engine, name: &StackName) -> Result<Vec<Container>, Error> {
    let labels = HashMap::from([(PROJECT.to_owned(), name.to_string())]);
    engine.containers(true, &labels).await
}

fn member(container: Container) -> Member {
    let label = |name| container.labels.get(name).map_or("", String::as_str);
    Member {
        service: service(&container),
        number: label(NUMBER).parse().unwrap_or_default(),
        one_off: is_one_off(&container),
        container,
    }
}

fn service(container: &Container) -> String {
    let service = container.labels.get(SERVICE);
    let service = service.filter(|name| name.parse::<ServiceName>().is_ok());
    service.cloned().unwrap_or_default()
}

fn is_one_off(container: &Container) -> bool {
    container.labels.get(ONE_OFF).is_some_and(|is| is == "True")
}

fn listed(name: StackName, containers: &[Container]) -> Option<Listed> {
    let mut services = BTreeMap::<String, Service>::new();
    let lasting = || containers.iter().filter(|container| !is_one_off(container));
    for container in lasting() {
        let of = services.entry(service(container)).or_insert(Service {
            image: container.image.clone(),
            containers: 0,
            running: 0,
        });
        of.containers += 1;
        of.running += u32::from(container.state == State::Running);
    }
    // Times are whole seconds; the engine lists the newest first.
    let newest = lasting().rev().max_by_key(|container| container.created)?;
    Some(Listed {
        name,
        services,
        created: lasting().filter_map(|container| container.created).min(),
        source: Source::of(newest),
    })
}

impl Source {
    fn of(container: &Container) -> Self {
        let label = |name| {
            let label = container.labels.get(name);
            let label = label.filter(|label| label.len() <= LONGEST_LABEL);
            label.map_or("", String::as_str)
        };
        let files = |name| -> Vec<String> {
            let files = label(name).split(',').filter(|file| !file.is_empty());
            files.take(MOST_FILES).map(str::to_owned).collect()
        };
        Self {
            container: container.id.clone(),
            image: container.image_id.clone(),
            created: container.created.unwrap_or_default(),
            working_dir: label(WORKING_DIR).to_owned(),
            config_files: files(CONFIG_FILES),
            env_files: files(ENVIRONMENT_FILES),
        }
    }
}
