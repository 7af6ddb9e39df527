//! The same calls through a real `turbopanel serve`: as the CLI makes them, over frames, and as any gRPC client does.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use tonic::{Request, Status, service::Interceptor, transport::Endpoint};
use turbopanel_tunnel::{DialHeaders, Methods, Target, connect_caller};

use crate::{
    agent::free_address,
    echo::round,
    process::target_folder,
    row::Row,
    tunnel::{Names, one_thread, rows, serve},
};

const ROUNDS: usize = 5;

/// Ended, by its own pid, when the measurement is.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn measure() -> anyhow::Result<Vec<Row>> {
    let binary = target_folder().join("release/turbopanel");
    let data = tempfile::tempdir()?;
    let address = free_address()?;
    let mut child = Command::new(&binary)
        .args([
            "serve",
            "--no-integrated-agent",
            "--listen",
            &address.to_string(),
            "--data-dir",
        ])
        .arg(data.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{} is missing; `make bench` builds it", binary.display()))?;
    let stdout = child.stdout.take().context("no output")?;
    let _serving = Serving(child);
    let mut lines = BufReader::new(stdout).lines();
    if lines.next().is_none() {
        bail!("turbopanel serve did not start");
    }
    let admin = std::fs::read_to_string(data.path().join("admin-token"))?;
    let admin = admin.trim().to_owned();
    let made = Command::new(&binary)
        .args(["--url", &format!("http://{address}"), "--data-dir"])
        .arg(data.path())
        .args(["token", "create", "bench", "--json"])
        .output()?;
    let made: serde_json::Value =
        serde_json::from_slice(&made.stdout).context("token create --json")?;
    let token = made
        .get("token")
        .and_then(|token| token.as_str())
        .context("no token")?
        .to_owned();
    let direct = serve(
        address,
        DialHeaders {
            token: Some(token),
            ..DialHeaders::default()
        },
    )?;

    let runtime = one_thread()?;
    let frames = runtime.block_on(async {
        let target =
            Target::parse(&format!("http://{address}"))?.join("/client/connect?agent=bench");
        let headers = DialHeaders {
            token: Some(admin.clone()),
            ..DialHeaders::default()
        };
        let channel = connect_caller(target, headers, Methods::default());
        let mut presence = channel.presence();
        tokio::time::timeout(
            Duration::from_secs(10),
            presence.wait_for(|presence| presence.connected),
        )
        .await
        .context("the agent did not connect")??;
        anyhow::Ok(channel)
    })?;
    let connect = |address| {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        runtime.block_on(async { anyhow::Ok(endpoint?.connect().await?) })
    };
    let (direct, plane) = (connect(direct)?, connect(address)?);
    let as_agent = Named {
        authorization: format!("Bearer {admin}").parse()?,
    };
    let plane = tonic::service::interceptor::InterceptedService::new(plane, as_agent);
    let (mut by_frames, mut by_grpc) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let reference = runtime.block_on(round(direct.clone()))?;
        by_frames.push((runtime.block_on(round(frames.clone()))?, reference));
        by_grpc.push((runtime.block_on(round(plane.clone()))?, reference));
    }
    let mut report = rows(
        &by_frames,
        &Names {
            ids: [
                "serve.frames.unary.p50",
                "serve.frames.unary.p99",
                "serve.frames.stream.120B",
                "serve.frames.stream.16KiB",
            ],
            whats: [
                "unary call through turbopanel serve, frames, p50",
                "unary call through turbopanel serve, frames, p99",
                "messages of 120 B through serve, frames",
                "16 KiB messages through serve, frames",
            ],
            time: 2.0,
            speed: 0.6,
        },
    );
    report.extend(rows(
        &by_grpc,
        &Names {
            ids: [
                "serve.grpc.unary.p50",
                "serve.grpc.unary.p99",
                "serve.grpc.stream.120B",
                "serve.grpc.stream.16KiB",
            ],
            whats: [
                "unary call through turbopanel serve, gRPC, p50",
                "unary call through turbopanel serve, gRPC, p99",
                "messages of 120 B through serve, gRPC",
                "16 KiB messages through serve, gRPC",
            ],
            time: 2.0,
            speed: 0.6,
        },
    ));
    Ok(report)
}

/// Names the agent and shows the token.
#[derive(Clone)]
struct Named {
    authorization: tonic::metadata::AsciiMetadataValue,
}

impl Interceptor for Named {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.authorization.clone());
        metadata.insert(
            "turbopanel-agent",
            tonic::metadata::AsciiMetadataValue::from_static("bench"),
        );
        Ok(request)
    }
}
