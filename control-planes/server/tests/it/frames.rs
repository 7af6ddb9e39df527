//! Callers over frames: the control plane's own services, the integrated agent, a remote agent; and
//! reflection.

use std::net::SocketAddr;

use tokio_stream::StreamExt;
use tonic::{Code, Request, client::Grpc};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use turbopanel_control_plane::proto::{
    FILE_DESCRIPTOR_SET,
    control::{
        ListAgentsRequest, RevokeTokenRequest, TokenKind, fleet_service_client::FleetServiceClient,
    },
};
use turbopanel_tunnel::{Channel, DialHeaders, Methods, Target, connect_caller};

use crate::{
    echo::{Echo, UNARY},
    plane::{TestPlane, reason, within},
};

pub fn caller(plane: &TestPlane, token: &str, path: &str) -> Channel {
    caller_at(plane.address, token, path)
}

pub fn caller_at(address: SocketAddr, token: &str, path: &str) -> Channel {
    let target = Target::parse(&format!("http://{address}")).unwrap();
    let headers = DialHeaders {
        token: Some(token.to_owned()),
        agent: None,
        user_agent: "test".to_owned(),
    };
    let methods = Methods::from_descriptor_set(FILE_DESCRIPTOR_SET).unwrap();
    connect_caller(target.join(path), headers, methods)
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_reach_all_three() {
    let plane = TestPlane::start().await;
    let (_agent, _) = plane.join("web-2", &Echo::default()).await;

    let own = caller(&plane, &plane.admin, "/client/connect");
    let mut fleet = FleetServiceClient::new(own);
    let agents = within(10, fleet.list_agents(ListAgentsRequest::default()))
        .await
        .unwrap();
    assert_eq!(agents.into_inner().agents.len(), 2);

    let local = caller(&plane, &plane.admin, "/client/connect?agent=local");
    let mut health = HealthClient::new(local);
    let answer = within(10, health.check(HealthCheckRequest::default()))
        .await
        .unwrap();
    assert_eq!(answer.into_inner().status, 1);

    let remote = caller(&plane, &plane.admin, "/client/connect?agent=web-2");
    let mut grpc = Grpc::new(remote);
    grpc.ready().await.unwrap();
    let codec: ProstCodec<String, String> = ProstCodec::default();
    let request = Request::new("over frames".to_owned());
    let answer = within(10, grpc.unary(request, UNARY, codec)).await.unwrap();
    assert_eq!(answer.into_inner(), "over frames");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_refused_clearly() {
    let plane = TestPlane::start().await;
    let other = plane.create(TokenKind::Admin, "laptop").await;
    let list = async |channel: Channel| {
        let mut fleet = FleetServiceClient::new(channel);
        within(15, fleet.list_agents(ListAgentsRequest::default())).await
    };
    let wrong = list(caller(&plane, "tpc_wrong", "/client/connect"))
        .await
        .unwrap_err();
    let told = |status: &tonic::Status| (status.code(), reason(status));
    assert_eq!(
        told(&wrong),
        (Code::Unauthenticated, "CALLER_TOKEN_REQUIRED".into())
    );
    let unknown = list(caller(&plane, &plane.admin, "/client/connect?agent=web-7")).await;
    assert_eq!(
        told(&unknown.unwrap_err()),
        (Code::NotFound, "AGENT_UNKNOWN".into())
    );

    let channel = caller(&plane, &other.secret, "/client/connect");
    list(channel.clone()).await.unwrap();
    let id = other.token.unwrap().id;
    let revoked = plane
        .tokens()
        .revoke_token(RevokeTokenRequest { id })
        .await
        .unwrap();
    assert_eq!(revoked.into_inner().ended_connections, 1);
    let error = list(channel).await.unwrap_err();
    assert_eq!(
        told(&error),
        (Code::PermissionDenied, "CALLER_TOKEN_REFUSED".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_services_over_frames_need_an_agent() {
    let plane = TestPlane::start().await;
    let mut grpc = Grpc::new(caller(&plane, &plane.admin, "/client/connect"));
    grpc.ready().await.unwrap();
    let codec: ProstCodec<(), ()> = ProstCodec::default();
    let path = "/turbopanel.agent.v1.AgentService/GetStatus"
        .parse()
        .unwrap();
    let error = within(10, grpc.unary(Request::new(()), path, codec))
        .await
        .unwrap_err();
    assert_eq!(reason(&error), "AGENT_NOT_NAMED");
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_tells_all_and_keeps_options() {
    let plane = TestPlane::start().await;
    let mut client = ServerReflectionClient::new(plane.client(Some(&plane.admin), None));
    let ask = |request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    };
    let requests = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "turbopanel.agent.v1.LogService".to_owned(),
        )),
        ask(MessageRequest::FileByFilename(
            "turbopanel/tunnel/v1/options.proto".to_owned(),
        )),
        ask(MessageRequest::FileContainingSymbol(
            "google.rpc.ErrorInfo".to_owned(),
        )),
    ];
    let answers = client
        .server_reflection_info(tokio_stream::iter(requests))
        .await
        .unwrap();
    let mut answers = answers.into_inner();
    let mut next = async || {
        let answer = within(10, answers.next()).await.unwrap().unwrap();
        answer.message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(list) = next().await else {
        panic!("no list");
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for expected in [
        "turbopanel.control.v1.FleetService",
        "turbopanel.control.v1.TokenService",
        "turbopanel.agent.v1.AgentService",
        "turbopanel.agent.v1.ContainerService",
        "turbopanel.agent.v1.LogService",
        "turbopanel.agent.v1.CommandService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ] {
        assert!(
            names.iter().any(|name| name == expected),
            "{expected} is not in {names:?}"
        );
    }
    let MessageResponse::FileDescriptorResponse(file) = next().await else {
        panic!("no file");
    };
    // Field 50718 of the options, as a varint key, survives.
    let file = &file.file_descriptor_proto[0];
    assert!(file.windows(3).any(|key| key == [0xf0, 0xe1, 0x18]));
    for what in ["the options of methods", "the details of errors"] {
        let answer = next().await;
        let described = matches!(answer, MessageResponse::FileDescriptorResponse(_));
        assert!(described, "{what} are not described: {answer:?}");
    }
}
