//! Calls through the tunnel against the same service by tonic over TCP. One thread serves, one calls, in both.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Endpoint};
use turbopanel_tunnel::{
    AgentHello, DialHeaders, Instance, Methods, Server, Settings, Target, agent_session, dial,
};

use crate::{
    echo::{Echo, Round, round},
    plane::Plane,
    row::{Goal, Row, median},
};

const ROUNDS: usize = 5;

/// The names of a way's four rows, and what they must reach.
pub(crate) struct Names {
    pub(crate) ids: [&'static str; 4],
    pub(crate) whats: [&'static str; 4],
    pub(crate) time: f64,
    pub(crate) speed: f64,
}

pub(crate) fn measure() -> anyhow::Result<Vec<Row>> {
    let plane = Plane::on(one_thread()?)?;
    let direct = serve(plane.address, DialHeaders::default())?;
    plane.await_agent()?;
    let channel = plane
        .runtime
        .block_on(Endpoint::from_shared(format!("http://{direct}"))?.connect())?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let reference = plane.runtime.block_on(round(channel.clone()))?;
        let value = plane.runtime.block_on(round(plane.channel()))?;
        rounds.push((value, reference));
    }
    Ok(rows(
        &rounds,
        &Names {
            ids: [
                "tunnel.unary.p50",
                "tunnel.unary.p99",
                "tunnel.stream.120B",
                "tunnel.stream.16KiB",
            ],
            whats: [
                "unary call through the tunnel, p50",
                "unary call through the tunnel, p99",
                "200,000 messages of 120 B down a stream",
                "16 KiB messages down a stream",
            ],
            time: 1.0,
            speed: 1.0,
        },
    ))
}

pub(crate) fn one_thread() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// Serves on a thread of its own: over TCP at the address that is returned, and through a tunnel to
/// this control plane.
pub(crate) fn serve(plane: SocketAddr, headers: DialHeaders) -> anyhow::Result<SocketAddr> {
    let runtime = one_thread()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let routes = Routes::new(Echo).prepare();
            let server = Server::new(routes.clone(), Methods::default(), Settings::default());
            let direct = tonic::transport::Server::builder()
                .tcp_nodelay(true)
                .add_routes(routes)
                .serve_with_incoming(TcpListenerStream::new(listener));
            let (direct, tunnelled) = tokio::join!(direct, attach(plane, headers, server));
            eprintln!("the bench's service ended: {direct:?}, {tunnelled:?}");
        });
    });
    Ok(address)
}

async fn attach(plane: SocketAddr, headers: DialHeaders, server: Server) -> anyhow::Result<()> {
    let target = Target::parse(&format!("http://{plane}"))?.join("/agent/connect");
    let socket = dial(&target, &headers).await.context("dialling")?;
    let hello = AgentHello {
        agent: None,
        instance: Instance::random(),
        dial: 1,
        version: "0.0.0".to_owned(),
        policy: String::new(),
        capabilities: Vec::new(),
        authority: target.authority(),
        signer: None,
        heartbeat: None,
    };
    agent_session(socket, hello, &server, |_| {}, CancellationToken::new()).await;
    Ok(())
}

/// The medians of all rounds, as rows.
pub(crate) fn rows(rounds: &[(Round, Round)], names: &Names) -> Vec<Row> {
    type Field = fn(&Round) -> f64;
    let fields: [(Field, &str, Goal); 4] = [
        (|round| round.p50_us, "µs", Goal::AtMost(names.time)),
        (|round| round.p99_us, "µs", Goal::AtMost(names.time)),
        (|round| round.small_per_s, "1/s", Goal::AtLeast(names.speed)),
        (
            |round| round.large_mb_per_s,
            "MB/s",
            Goal::AtLeast(names.speed),
        ),
    ];
    fields
        .into_iter()
        .zip(names.ids.into_iter().zip(names.whats))
        .map(|((field, unit, goal), (id, what))| Row {
            id,
            what,
            unit,
            value: median(rounds.iter().map(|(value, _)| field(value)).collect()),
            reference: Some(median(
                rounds
                    .iter()
                    .map(|(_, reference)| field(reference))
                    .collect(),
            )),
            goal,
        })
        .collect()
}
