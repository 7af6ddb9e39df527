//! Peers that write frames by hand, over TCP or over a pipe.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use prost::Message as _;
use tokio::{io::DuplexStream, net::TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest, protocol::Role},
};
use turbopanel_tunnel::{
    AgentHello, Instance,
    proto::{Command, Frame, Packet, frame::Kind},
};

use crate::rig::Plane;

pub type Raw = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Dials a control plane.
pub async fn raw(plane: &Plane, path: &str) -> Raw {
    let mut request = format!("ws://{}{path}", plane.address)
        .into_client_request()
        .unwrap();
    let protocol = "turbopanel.tunnel.v1".parse().unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocol);
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

/// One end of a pipe as a WebSocket that has been upgraded.
pub async fn over(pipe: DuplexStream, role: Role) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(pipe, role, None).await
}

pub fn packet(frames: Vec<(u32, Kind)>) -> Message {
    let frames = frames
        .into_iter()
        .map(|(stream, kind)| Frame {
            stream,
            kind: Some(kind),
        })
        .collect();
    Message::Binary(Packet { slot: 0, frames }.encode_to_vec().into())
}

pub fn frames(message: Message) -> Vec<(u32, Kind)> {
    let Message::Binary(bytes) = message else {
        return Vec::new();
    };
    let frames = Packet::decode(bytes).unwrap().frames;
    frames
        .into_iter()
        .filter_map(|frame| Some((frame.stream, frame.kind?)))
        .collect()
}

/// Waits for a frame that `wanted` makes something of.
pub async fn await_frame<S, T>(
    ws: &mut WebSocketStream<S>,
    mut wanted: impl FnMut(u32, Kind) -> Option<T>,
) -> T
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        let message = ws.next().await.expect("a message").expect("no error");
        for (stream, kind) in frames(message) {
            if let Some(found) = wanted(stream, kind) {
                return found;
            }
        }
    }
}

/// The code that the peer closed with; none when it was cut.
pub async fn closed<S>(ws: &mut WebSocketStream<S>) -> Option<u16>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        match ws.next().await {
            Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

pub async fn say<S>(ws: &mut WebSocketStream<S>, frames: Vec<(u32, Kind)>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    ws.send(packet(frames)).await.unwrap();
}

/// A new call, with room for its answer.
pub fn command(path: &str) -> Command {
    Command {
        call_id: Instance::random().as_bytes().to_vec().into(),
        path: path.to_owned(),
        headers: vec![turbopanel_tunnel::proto::Header {
            name: "content-type".to_owned(),
            value: Bytes::from_static(b"application/grpc"),
        }],
        limit: 1 << 20,
        ..Command::default()
    }
}

/// A gRPC message in its frame.
pub fn grpc(message: &impl prost::Message) -> Bytes {
    let encoded = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend_from_slice(&(encoded.len() as u32).to_be_bytes());
    framed.extend_from_slice(&encoded);
    framed.into()
}

pub fn hello() -> AgentHello {
    AgentHello {
        agent: None,
        instance: Instance::random(),
        dial: 1,
        version: String::new(),
        policy: String::new(),
        capabilities: Vec::new(),
        authority: String::new(),
        signer: None,
        heartbeat: None,
    }
}
