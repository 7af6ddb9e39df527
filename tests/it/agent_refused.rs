//! What the log says when a control plane closes: one line with what was tried, what came back and what to do.

use turbopanel_tunnel::CloseCode;

use crate::{agent_support::Agent, docker_support::eventually, tunnel_support::Plane};

#[tokio::test(flavor = "multi_thread")]
async fn each_close_code_is_one_line_with_its_mend() {
    for (code, number, mend) in [
        (CloseCode::Unauthenticated, "4401", "check the token"),
        (CloseCode::Revoked, "4403", "create a new token"),
        (CloseCode::TooLate, "4408", "check the network"),
        (CloseCode::Superseded, "4409", "a token of its own"),
        (CloseCode::WrongProtocol, "4426", "update the older one"),
        (CloseCode::Overloaded, "4429", "tried again later"),
        // The reason is the other side's word, and no code.
        (CloseCode::GoingAway, "1001", "a wording with 4409 in it"),
    ] {
        let plane = Plane::start("web-9").await;
        let agent = Agent::start(&[("CONTROL_PLANE_URL", &plane.url)]);
        eventually("it is connected", async || {
            plane.remote.presence().borrow().connected
        })
        .await;
        plane.remote.disconnect(code, "a wording with 4409 in it");
        agent.logged("a wording with 4409 in it");
        let log = agent.log();
        let lines: Vec<_> = log
            .lines()
            .filter(|line| line.contains("a wording"))
            .collect();
        assert_eq!(lines.len(), 1, "{log}");
        let line = lines[0];
        for part in ["WARN", plane.url.as_str(), number, mend] {
            assert!(line.contains(part), "{part}: {line}");
        }
        let superseded = line.contains("another agent uses this identity");
        assert_eq!(superseded, code == CloseCode::Superseded, "{line}");
    }
}
