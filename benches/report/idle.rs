//! What an agent costs that is connected and has nothing to do, beside ten containers.

use std::{thread, time::Duration};

use crate::{
    agent::Agent,
    plane::Plane,
    process::{Container, cpu_time, status},
    row::{Goal, Row},
};

const CONTAINERS: usize = 10;
const SETTLING: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(60);

pub(crate) fn measure() -> anyhow::Result<Vec<Row>> {
    let mut containers = Vec::with_capacity(CONTAINERS);
    for _ in 0..CONTAINERS {
        containers.push(Container::start("exec sleep 3600")?);
    }
    let plane = Plane::start()?;
    let agent = Agent::joined(&plane)?;
    // What a start leaves behind is not idleness.
    thread::sleep(SETTLING);
    let before = cpu_time(agent.pid())?;
    thread::sleep(WATCHED);
    let spent = cpu_time(agent.pid())?.saturating_sub(before);
    Ok(vec![
        Row {
            id: "idle.memory",
            what: "idle agent, 10 containers: resident memory",
            unit: "MiB",
            value: status(agent.pid(), "VmRSS")? / 1024.0,
            reference: None,
            goal: Goal::AtMost(6.5),
        },
        Row {
            id: "idle.cpu",
            what: "idle agent, 10 containers: CPU in 60 s",
            unit: "ms",
            value: spent.as_secs_f64() * 1000.0,
            reference: None,
            goal: Goal::AtMost(5.0),
        },
        Row {
            id: "idle.threads",
            what: "idle agent, 10 containers: threads",
            unit: "threads",
            value: status(agent.pid(), "Threads")?,
            reference: None,
            goal: Goal::AtMost(3.0),
        },
    ])
}
