//! The vectors in docs/vectors, which any implementation of the protocol can run: packets as bytes and as
//! ProtoJSON, and short dialogues with a serving end.
//!
//! `TURBOPANEL_WRITE_VECTORS=1` writes the dialogues anew, after a change of the protocol.

use std::{convert::Infallible, path::PathBuf};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use prost::Message as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, protocol::Role};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use turbopanel_tunnel::{
    CallerLink, Instance, Methods, Server, Settings, Socket,
    proto::{
        CallClass, Command, Credit, Data, Detach, Done, Frame, Header, Log, Packet, Presence,
        Reset, ResetCode, Response, frame::Kind,
    },
};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/vectors")
        .join(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn packet(slot: u32, frames: Vec<(u32, Kind)>) -> Packet {
    let frames = frames.into_iter().map(|(stream, kind)| Frame {
        stream,
        kind: Some(kind),
    });
    Packet {
        slot,
        frames: frames.collect(),
    }
}

fn header(name: &str, value: &str) -> Header {
    Header {
        name: name.to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}

const ID: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const INSTANCE: [u8; 16] = [0xaa; 16];

fn command(path: &str, body: &'static [u8], end: bool) -> Command {
    Command {
        call_id: Bytes::copy_from_slice(&ID),
        instance: Bytes::copy_from_slice(&INSTANCE),
        path: path.to_owned(),
        headers: vec![header("content-type", "application/grpc")],
        class: CallClass::Interactive.into(),
        body: Bytes::from_static(body),
        end,
        limit: 262_144,
        ..Command::default()
    }
}

fn built(name: &str) -> Packet {
    let body = Bytes::from_static(b"abc");
    match name {
        "unary command" => packet(
            0,
            vec![(
                1,
                Kind::Command(command("/test.Echo/Same", b"\0\0\0\0\0", true)),
            )],
        ),
        "command again" => packet(
            0,
            vec![(
                1,
                Kind::Command(Command {
                    again: true,
                    received: 70_000,
                    limit: 332_144,
                    headers: Vec::new(),
                    ..command("/test.Echo/Same", b"", false)
                }),
            )],
        ),
        "unary answer on slot 300" => packet(
            300,
            vec![(
                1,
                Kind::Response(Response {
                    status: 200,
                    headers: vec![header("content-type", "application/grpc")],
                    body,
                    trailers: vec![header("grpc-status", "0")],
                    end: true,
                    ..Response::default()
                }),
            )],
        ),
        "data, log, credit, done" => packet(
            2,
            vec![
                (
                    1,
                    Kind::Data(Data {
                        offset: 65_536,
                        body: body.clone(),
                        end: true,
                    }),
                ),
                (3, Kind::Log(Log { offset: 7, body })),
                (
                    3,
                    Kind::Credit(Credit {
                        received: 10,
                        limit: 262_154,
                    }),
                ),
                (5, Kind::Done(Done {})),
            ],
        ),
        "a principal is revoked" => {
            let revoked = "9f".to_owned();
            packet(7, vec![(0, Kind::Detach(Detach { revoked }))])
        }
        "cancel by id" => packet(
            0,
            vec![(
                9,
                Kind::Reset(Reset {
                    code: ResetCode::Cancel.into(),
                    message: String::new(),
                    call_id: Bytes::copy_from_slice(&ID),
                }),
            )],
        ),
        "presence of an agent that is away" => packet(
            0,
            vec![(
                0,
                Kind::Presence(Presence {
                    agent: "web-2".to_owned(),
                    last_seen_unix_ms: 1_795_521_600_000,
                    ..Presence::default()
                }),
            )],
        ),
        other => panic!("the vector {other:?} is not known here"),
    }
}

#[test]
fn packets_are_the_bytes_that_the_vectors_say() {
    let vectors: Value =
        serde_json::from_str(&std::fs::read_to_string(file("packets.json")).unwrap()).unwrap();
    let vectors = vectors.as_array().unwrap();
    assert_eq!(vectors.len(), 7);
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let bytes = unhex(vector["hex"].as_str().unwrap());
        assert_eq!(Packet::decode(&bytes[..]).unwrap(), built(name), "{name}");
        assert_eq!(hex(&built(name).encode_to_vec()), hex(&bytes), "{name}");
    }
}

/// What the dialogues are held with: answers with the request's body, or with a status of its own.
#[derive(Clone)]
struct Parrot;

impl tower_service::Service<http::Request<Body>> for Parrot {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let frames = [
                http_body::Frame::data(body),
                http_body::Frame::trailers(trailers),
            ];
            let frames = tokio_stream::iter(frames.map(Ok::<_, tonic::Status>));
            let mut response = http::Response::new(Body::new(StreamBody::new(frames)));
            response
                .headers_mut()
                .insert("content-type", "application/grpc".parse().unwrap());
            Ok(response)
        })
    }
}

/// Plays the caller's steps against a new serving end and returns what it answers to each.
async fn play(says: &[Vec<u8>]) -> Vec<String> {
    let (near, far) = tokio::io::duplex(1 << 20);
    let server = Server::new(Parrot, Methods::default(), Settings::default());
    let link = CallerLink {
        caller: "tester".to_owned(),
        agent: "parrot".to_owned(),
        instance: Instance::from_bytes(&INSTANCE).unwrap(),
    };
    let serving = tokio::spawn(async move {
        let socket = Socket::new(far, false).await;
        server
            .serve_caller(socket, link, CancellationToken::new())
            .await
    });
    let mut ws =
        tokio_tungstenite::WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let mut answers = Vec::new();
    // The first packet, the presence, answers the connection itself.
    for say in std::iter::once(None).chain(says.iter().map(Some)) {
        if let Some(say) = say {
            ws.send(Message::Binary(say.clone().into())).await.unwrap();
        }
        let answer = loop {
            match ws.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => break hex(&bytes),
                _ => continue,
            }
        };
        answers.push(answer);
    }
    drop(ws);
    serving.await.unwrap();
    answers
}

#[tokio::test]
async fn dialogues_go_as_the_vectors_say() {
    let cases: [(&str, &str, Vec<Packet>); 5] = [
        ("unary", "one packet each way", vec![built("unary command")]),
        (
            "request in two parts",
            "the answer comes when the request is whole",
            vec![packet(
                0,
                vec![
                    (1, Kind::Command(command("/test.Echo/Same", b"ab", false))),
                    (
                        1,
                        Kind::Data(Data {
                            offset: 2,
                            body: Bytes::from_static(b"c"),
                            end: true,
                        }),
                    ),
                ],
            )],
        ),
        (
            "attached again",
            "the finished answer is told from where the caller has it, after a credit",
            vec![
                built("unary command"),
                packet(
                    0,
                    vec![(
                        2,
                        Kind::Command(Command {
                            again: true,
                            received: 5,
                            limit: 262_149,
                            ..command("/test.Echo/Same", b"", false)
                        }),
                    )],
                ),
            ],
        ),
        (
            "never heard of",
            "a call that is not known cannot go on",
            vec![packet(
                0,
                vec![(
                    1,
                    Kind::Command(Command {
                        again: true,
                        received: 1,
                        ..command("/test.Echo/Same", b"", false)
                    }),
                )],
            )],
        ),
        (
            "a gap",
            "bytes are missing before offset 9",
            vec![packet(
                0,
                vec![
                    (1, Kind::Command(command("/test.Echo/Same", b"ab", false))),
                    (
                        1,
                        Kind::Data(Data {
                            offset: 9,
                            body: Bytes::from_static(b"c"),
                            end: true,
                        }),
                    ),
                ],
            )],
        ),
    ];
    let mut played = Vec::new();
    for (name, what, says) in cases {
        let says: Vec<Vec<u8>> = says.iter().map(prost::Message::encode_to_vec).collect();
        let answers = play(&says).await;
        let says: Vec<String> = says.iter().map(|say| hex(say)).collect();
        played.push(json!({ "name": name, "what": what, "caller_says": says, "serving_end_answers": answers }));
    }
    let path = file("dialogues.json");
    if std::env::var_os("TURBOPANEL_WRITE_VECTORS").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&played).unwrap() + "\n").unwrap();
    }
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(Value::Array(played), committed);
}
