//! What traces cost on the route of the newest price. The same pod runs in several processes, which differ only in the
//! OpenTelemetry settings, and which are measured in turns.

use std::{io::Read, process::Command, time::Duration};

use anyhow::{Context, Result};
use common::telemetry::{self, LogConfig};
use testkit::collector::Collector;
use tokio::runtime::{Builder, Runtime};

use crate::{
    http::{ask, load},
    pod::Pod,
    report::{self, line, median},
    server::Server,
};

const PATH: &str = "/v1/prices/BTC-USD";

/// The argument of a process that does not even start its log.
const BARE: &str = "bare";

/// The name in the table, the argument of the process, and the share of requests whose traces are recorded: none if there
/// is no collector.
const WAYS: [(&str, &str, Option<&str>); 4] = [
    ("without telemetry", BARE, None),
    ("no collector", "logging", None),
    ("default: 1 % of requests", "logging", Some("")),
    ("all requests", "logging", Some("always_on")),
];

/// A pod in a process of its own.
struct Measured {
    name: &'static str,
    server: Server,
    rates: Vec<f64>,
    /// Microseconds of CPU time per request.
    costs: Vec<f64>,
}

pub fn run(seconds: u64, rounds: u64) -> Result<()> {
    let (receiving, clients) =
        (Runtime::new()?, Builder::new_multi_thread().worker_threads(1).enable_all().build()?);
    let collector = receiving.block_on(Collector::start())?;
    let start = |(name, mode, sampler)| Measured::start(name, mode, sampler, &collector);
    let mut pods = WAYS.into_iter().map(start).collect::<Result<Vec<_>>>()?;
    for _ in 0..rounds {
        for pod in &mut pods {
            let (request, answer) = clients.block_on(ask(pod.server.address, PATH, false))?;
            let before = pod.server.cpu_micros()?;
            let time = Duration::from_secs(seconds);
            let rate = clients.block_on(load(pod.server.address, &request, answer.len(), time))?;
            pod.costs.push((pod.server.cpu_micros()? - before) / (rate * time.as_secs_f64()));
            pod.rates.push(rate);
        }
    }
    let (bare, others) = pods.split_first().context("a pod")?;
    let compare = |pod: &Measured, of: fn(&Measured) -> &Vec<f64>| {
        // The load on the machine changes between rounds, so only values of the same round are compared.
        let ratios = of(pod).iter().zip(of(bare)).map(|(ours, theirs)| ours / theirs).collect();
        let base = median(of(bare).clone());
        (median(ratios) * base, base)
    };
    let lines = others.iter().flat_map(|pod| {
        let ((rate, bare_rate), (cost, bare_cost)) =
            (compare(pod, |pod| &pod.rates), compare(pod, |pod| &pod.costs));
        [
            line(&format!("{}: requests", pod.name), "/s", rate, bare_rate),
            line(&format!("{}: CPU time of a request", pod.name), "µs", cost, bare_cost),
        ]
    });
    let about = [
        "the newest price; the pods differ only in the settings of OpenTelemetry".to_owned(),
        format!("median of the ratios of {rounds} rounds of {seconds} s, in turns"),
        format!(
            "the collector received {} spans in {} requests",
            collector.spans().len(),
            collector.requests()
        ),
    ];
    report::write("telemetry", "without telemetry", &about, &lines.collect::<Vec<_>>())
}

impl Measured {
    fn start(name: &'static str, mode: &str, sampler: Option<&str>, collector: &Collector) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["telemetry-pod", mode]);
        if let Some(sampler) = sampler {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()).env("OTEL_TRACES_SAMPLER", sampler);
        }
        let server = Server::spawn(&mut command, false)?;
        Ok(Self { name, server, rates: Vec::new(), costs: Vec::new() })
    }
}

/// The process that [`run`] starts: serves a pod until its standard input ends.
pub fn pod(mode: &str) -> Result<()> {
    // Fails only if there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let telemetry = match mode {
        BARE => None,
        _ => {
            Some(telemetry::start(&LogConfig { level: "warn".to_owned(), ..LogConfig::default() }, "bench")?)
        }
    };
    let runtime = Runtime::new()?;
    let pod = runtime.block_on(Pod::start())?;
    println!("{}", pod.address);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    if let Some(telemetry) = telemetry {
        telemetry.shut_down();
    }
    Ok(())
}
