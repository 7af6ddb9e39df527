//! `turbopanel stack logs`: what the containers of a stack print, by the names that compose shows.

use turbopanel_control_plane::proto::agent::{
    StackContainer, stack_service_client::StackServiceClient,
};
use turbopanel_tunnel::Channel;

use super::{args::Logs, members};
use crate::cli::{
    connection::Connection,
    failure::Failure,
    logs,
    selectors::{self, Selectors},
    text,
};

/// Prints them until they end, nobody reads them, or a signal comes.
pub(super) async fn stream(connection: &Connection, args: Logs, json: bool) -> Result<u8, Failure> {
    let name = args.stack.name;
    if !args.services.is_empty() {
        let mut client: StackServiceClient<Channel> =
            StackServiceClient::new(connection.agent(&args.stack.agent)?);
        let members = members(&mut client, &name).await?;
        if let Some(missing) = missing(&args.services, &members) {
            return Err(Failure::Argument(missing));
        }
    }
    let selectors = Selectors {
        project: Some(name.clone()),
        service: args.services,
        ..Selectors::default()
    };
    let place = text::Place {
        agent: args.stack.agent,
        container: None,
    };
    let all = selectors::Logs {
        place,
        selectors,
        reading: args.reading,
        within: Some(name),
    };
    logs::stream(connection, all, json).await
}

/// What to say of a service that none of the stack's containers is of.
fn missing(wanted: &[String], members: &[StackContainer]) -> Option<String> {
    let has = |service: &String| members.iter().any(|member| member.service == *service);
    let missing = wanted.iter().find(|service| !has(service))?;
    let mut there: Vec<&str> = members
        .iter()
        .map(|member| member.service.as_str())
        .collect();
    there.sort_unstable();
    there.dedup();
    let missing = text::safe(missing);
    Some(match there.is_empty() {
        true => format!("there is no container of a service {missing}: the stack has none"),
        false => format!(
            "there is no container of a service {missing}: the stack has some of {}",
            text::safe(&there.join(", "))
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_without_containers_is_told_with_those_that_have_some() {
        let members = ["web", "db", "web"].map(|service| StackContainer {
            service: service.to_owned(),
            ..StackContainer::default()
        });
        let wanted = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        assert_eq!(missing(&wanted(&["db", "web"]), &members), None);
        let said = missing(&wanted(&["db", "cache"]), &members).unwrap_or_default();
        assert!(
            said.contains("cache") && said.ends_with("some of db, web"),
            "{said}"
        );
        let said = missing(&wanted(&["db"]), &[]).unwrap_or_default();
        assert!(said.ends_with("the stack has none"), "{said}");
    }
}
