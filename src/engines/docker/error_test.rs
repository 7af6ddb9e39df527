//! An engine's words mean what they say, whatever names stand in them.

use super::*;

fn creation(image: &'static str) -> Subject<'static> {
    Subject::Creation {
        name: Some("web"),
        image,
        network: Some("front"),
    }
}

#[test]
fn a_missing_image_is_no_missing_network_whatever_its_name() {
    for image in ["acme/network-tool", "acme/tool", "network"] {
        let message = format!("No such image: {image}:latest");
        let error = Error::from_status(404, &message, creation(image));
        assert!(
            matches!(&error, Error::ImageNotFound { image: named } if named == image),
            "{error:?}"
        );
    }
    for message in ["network front not found", "No such network: front"] {
        let error = Error::from_status(404, message, creation("acme/network-tool"));
        assert!(
            matches!(&error, Error::NetworkNotFound { network } if network == "front"),
            "{error:?}"
        );
    }
}

#[test]
fn messages_show_the_beginning_of_what_is_long_and_the_mend() {
    let long = || "é".repeat(20_000);
    let container = || "web".to_owned();
    for (error, mend) in [
        (Error::unreachable("unix:///s", long()), "set DOCKER_HOST"),
        (Error::no_answer("unix:///s", long()), "start it again"),
        (Error::ImageNotFound { image: long() }, "pull it"),
        (
            Error::NetworkNotFound { network: long() },
            "create it first",
        ),
        (Error::Rejected { message: long() }, "wrong"),
        (
            Error::ProgramNotFound {
                program: long(),
                container: container(),
            },
            "in container web",
        ),
        (
            Error::DirectoryNotFound {
                directory: long(),
                container: container(),
            },
            "in container web",
        ),
        (Error::Protocol(long()), "understood"),
        (
            Error::Failed {
                status: 500,
                message: long(),
            },
            "500",
        ),
    ] {
        let message = error.to_string();
        assert!(message.len() < 800, "{} bytes: {message}", message.len());
        assert!(message.contains(mend), "{message}");
    }
}
