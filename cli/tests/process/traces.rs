//! Traces as a collector receives them, from a poller and pods with a real nats-server between them.

use std::{collections::BTreeSet, time::Duration};

use async_nats::jetstream;
use futures::StreamExt;
use serde_json::Value;
use testkit::{
    collector::{Collector, Manner, Span},
    process::Tickwell,
    require_nats, wait_until,
};

use crate::harness::{
    DEADLINE, INTERVAL, Pod, Scene, field, has_event, has_price, moving_upstream, slots_pass, world,
};

/// A trace context of a client. The trace is recorded.
const CLIENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

impl Scene {
    /// The scene whose processes send their traces to a collector, at once.
    fn traced_by(self, collector: &Collector) -> Self {
        self.with("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()).with("OTEL_BSP_SCHEDULE_DELAY", "50")
    }
}

/// The attribute of a span.
fn attribute<'a>(span: &'a Span, name: &str) -> &'a str {
    span.attributes.get(name).map(String::as_str).unwrap_or_default()
}

/// The spans of a service with a name whose parent is `parent`.
fn children<'a>(spans: &'a [Span], service: &str, name: &str, parent: &Span) -> Vec<&'a Span> {
    let is_child = |span: &&Span| {
        (span.service.as_str(), span.name.as_str()) == (service, name)
            && (&span.trace, &span.parent) == (&parent.trace, &parent.id)
    };
    spans.iter().filter(is_child).collect()
}

/// Waits for a slot's trace that reaches the snapshots of all `pods`. Returns its spans, the one of the slot first.
async fn whole_trace(collector: &Collector, poller: &str, pods: &[&str]) -> Vec<Span> {
    wait_until("a whole trace", DEADLINE, async || {
        let spans = collector.spans();
        let reaches = |slot: &&Span| {
            pods.iter().all(|pod| {
                let published = children(&spans, poller, "publish", slot);
                let mut ingested =
                    published.iter().flat_map(|publish| children(&spans, pod, "ingest", publish));
                ingested.any(|ingest| !children(&spans, pod, "snapshot", ingest).is_empty())
            })
        };
        let slot = spans.iter().filter(|span| span.name == "slot").find(reaches)?;
        let others = spans.iter().filter(|span| span.trace == slot.trace && span.id != slot.id);
        Some([slot].into_iter().chain(others).cloned().collect())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_leads_from_the_slot_over_its_requests_to_the_snapshots_of_all_pods() {
    require_nats!();
    let collector = Collector::start().await.unwrap();
    let (nats, upstream, scene) = world().await;
    let scene = scene
        .traced_by(&collector)
        .with("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        .with("OTEL_EXPORTER_OTLP_HEADERS", "x-secret=open%20sesame");
    let _poller = scene.poller().await;
    let _pod = scene.pod("pod-a").await;
    let other = scene.command("pod-b").env("OTEL_SERVICE_NAME", "pod-b").arg("api").start().unwrap();
    let _other = Pod::of(other).await;

    let pods = ["tickwell-api", "pod-b"];
    let trace = whole_trace(&collector, "tickwell-poller", &pods).await;
    let slot = &trace[0];
    assert_eq!(
        (slot.parent.as_str(), slot.kind.as_str(), slot.service.as_str()),
        ("", "internal", "tickwell-poller")
    );
    let of_slot = |name: &str| children(&trace, "tickwell-poller", name, slot);

    let requests = of_slot("source.request");
    let asked: BTreeSet<&str> =
        requests.iter().map(|request| attribute(request, "tickwell.source")).collect();
    assert_eq!(asked, BTreeSet::from(["bitstamp", "coinbase", "kraken"]));
    for request in requests {
        assert_eq!(request.kind, "client");
        assert_eq!(attribute(request, "http.request.method"), "GET");
        assert_eq!(attribute(request, "server.address"), "127.0.0.1");
        assert!(attribute(request, "url.full").starts_with(&upstream.url()), "{request:?}");
        assert!(upstream.url().ends_with(attribute(request, "server.port")));
        if !request.is_error {
            assert_eq!(attribute(request, "http.response.status_code"), "200");
        }
    }
    let aggregate = of_slot("aggregate");
    assert_eq!((aggregate.len(), attribute(aggregate[0], "tickwell.pair")), (1, "BTC-USD"));
    let publish = of_slot("publish");
    assert_eq!((publish.len(), publish[0].kind.as_str()), (1, "producer"));
    assert_eq!(attribute(publish[0], "messaging.system"), "nats");
    assert_eq!(attribute(publish[0], "messaging.operation.type"), "send");
    assert_eq!(attribute(publish[0], "messaging.destination.name"), "ticks.BTC.USD");

    for pod in pods {
        let ingest = children(&trace, pod, "ingest", publish[0]);
        assert_eq!((ingest.len(), ingest[0].kind.as_str()), (1, "consumer"));
        assert_eq!(attribute(ingest[0], "messaging.system"), "nats");
        assert_eq!(attribute(ingest[0], "messaging.operation.type"), "process");
        assert!(attribute(ingest[0], "messaging.batch.message_count").parse::<u64>().unwrap() > 0);
        let commit = children(&trace, pod, "commit", ingest[0]);
        assert_eq!((commit.len(), attribute(commit[0], "db.system.name")), (1, "sled"));
        assert!(!commit[0].is_error && commit[0].nanos > 0);
    }
    // The spans of the exporter's own requests, and of all other libraries, are not sent.
    let ours = ["slot", "source.request", "aggregate", "publish", "ingest", "commit", "snapshot"];
    let all = collector.spans();
    assert_eq!(all.iter().find(|span| span.kind != "server" && !ours.contains(&span.name.as_str())), None);

    assert_eq!(collector.header("x-secret").as_deref(), Some("open sesame"));
    assert_eq!(collector.header("content-type").as_deref(), Some("application/x-protobuf"));
    let resource = &collector.resources()[0];
    assert_eq!(resource["deployment.environment.name"], "test");
    assert_eq!(resource["service.namespace"], "tickwell");
    drop(nats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_context_is_sent_even_if_the_trace_is_not_recorded() {
    require_nats!();
    let collector = Collector::start().await.unwrap();
    let (nats, _upstream, scene) = world().await;
    let scene = scene.traced_by(&collector);
    let unrecorded = scene.command("poller").env("OTEL_TRACES_SAMPLER", "always_off").arg("poller");
    let _poller = unrecorded.start().unwrap();
    let pod = scene.pod("pod").await;
    pod.takes_in(3).await;

    let client = async_nats::connect(nats.url()).await.unwrap();
    let stream = jetstream::new(client).get_stream("TICKS").await.unwrap();
    let newest = stream.get_last_raw_message_by_subject("ticks.BTC.USD").await.unwrap();
    let context = newest.headers.get("traceparent").unwrap().as_str().to_owned();
    let [version, trace, span, flags] = context.split('-').collect::<Vec<_>>()[..] else {
        panic!("{context}")
    };
    assert_eq!((version, trace.len(), span.len(), flags), ("00", 32, 16, "00"));
    // The pod records its traces, but not those that the poller does not record.
    assert_eq!(collector.spans().iter().find(|span| span.service == "tickwell-poller"), None);
    let traces: Vec<String> = collector.spans().into_iter().map(|span| span.trace).collect();
    assert!(!traces.iter().any(|known| known == trace), "{traces:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_one_process_the_trace_goes_through_the_log_in_that_process() {
    let collector = Collector::start().await.unwrap();
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).traced_by(&collector);
    let _pod = scene.standalone("pod").await;
    let trace = whole_trace(&collector, "tickwell", &["tickwell"]).await;
    assert!(trace.iter().any(|span| span.name == "commit"));
    let system = |name: &str| {
        let span = trace.iter().find(|span| span.name == name).unwrap();
        attribute(span, "messaging.system").to_owned()
    };
    assert_eq!((system("publish"), system("ingest")), ("in_process".to_owned(), "in_process".to_owned()));
}

/// Waits for the span of the request to a path.
async fn request_span(collector: &Collector, path: &str) -> Span {
    wait_until(path, DEADLINE, async || {
        collector
            .spans()
            .into_iter()
            .find(|span| span.kind == "server" && attribute(span, "url.path") == path)
    })
    .await
}

/// Sends a request with a header, and returns the body if the status is an error.
async fn get(pod: &Pod, path: &str, traceparent: &str) -> Option<Value> {
    let request = reqwest::Client::builder().no_proxy().build().unwrap().get(format!("{}{path}", pod.url));
    let response = request.header("traceparent", traceparent).send().await.unwrap();
    let is_error = !response.status().is_success();
    let body = response.text().await.unwrap();
    is_error.then(|| serde_json::from_str(&body).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_one_span_which_continues_the_trace_of_the_client() {
    let collector = Collector::start().await.unwrap();
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).traced_by(&collector);
    let pod = scene.standalone("pod").await;
    has_price(&pod).await;

    // The client decides whether its trace is recorded.
    get(&pod, "/v1/prices/BTC-USD?max_age=1h", CLIENT).await;
    get(&pod, "/v1/prices/ETH-USD", &CLIENT.replace("-01", "-00")).await;
    let problem = get(&pod, "/v1/prices/ABC-XYZ", CLIENT).await.unwrap();
    let found = request_span(&collector, "/v1/prices/BTC-USD").await;
    assert_eq!((found.trace.as_str(), found.parent.as_str()), (&CLIENT[3..35], &CLIENT[36..52]));
    assert_eq!(found.name, "GET /v1/prices/{pair}");
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/v1/prices/{pair}"),
        ("http.response.status_code", "200"),
        ("url.query", "max_age=1h"),
        ("url.scheme", "http"),
    ] {
        assert_eq!(attribute(&found, name), value, "{name}");
    }
    let unknown = request_span(&collector, "/v1/prices/ABC-XYZ").await;
    assert_eq!(attribute(&unknown, "http.response.status_code"), "404");
    // An error of the client is not an error of the server.
    assert!(!unknown.is_error);
    assert_eq!(problem["trace_id"], unknown.trace);
    assert!(!collector.spans().iter().any(|span| attribute(span, "url.path") == "/v1/prices/ETH-USD"));

    // The span of a stream ends with the handshake, while the stream continues.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let stream =
        client.get(format!("{}/v1/stream", pod.url)).header("traceparent", CLIENT).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let mut events = stream.bytes_stream();
    events.next().await.unwrap().unwrap();
    request_span(&collector, "/v1/stream").await;
    events.next().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_trace_of_its_own_a_request_gets_one_that_problems_and_spans_share() {
    let collector = Collector::start().await.unwrap();
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).traced_by(&collector);
    let scene = scene.with("OTEL_TRACES_SAMPLER", "always_on");
    let pod = scene.standalone("pod").await;
    let problem = pod.get("/v1/nowhere").await.json();
    let span = request_span(&collector, "/v1/nowhere").await;
    assert_eq!((problem["trace_id"].as_str(), span.parent.as_str()), (Some(span.trace.as_str()), ""));
    // There is no route, so the name has no route either.
    assert_eq!((span.name.as_str(), attribute(&span, "http.route")), ("GET", ""));
}

/// How many lines of a process report this event.
fn count(process: &Tickwell, event: &str) -> usize {
    process.lines().iter().filter(|line| has_event(line, event)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_refuses_costs_no_slot_and_is_reported_once() {
    let collector = Collector::start().await.unwrap();
    collector.set_manner(Manner::Refuses);
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).traced_by(&collector);
    let mut pod = scene.standalone("pod").await;
    let lost = pod.process.wait_for_line(|line| has_event(line, "telemetry_lost"), DEADLINE).await.unwrap();
    assert!(field(&lost, "reason").unwrap().contains("400"), "{lost}");
    let before = collector.requests();
    pod.takes_in(3).await;
    wait_until("more requests", DEADLINE, async || (collector.requests() > before + 2).then_some(())).await;
    assert_eq!(count(&pod.process, "telemetry_lost"), 1);
    assert_eq!(collector.spans(), []);

    collector.set_manner(Manner::Accepts);
    let again = |line: &str| has_event(line, "telemetry_recovered");
    let recovered = pod.process.wait_for_line(again, DEADLINE).await.unwrap();
    assert!(field(&recovered, "lost").unwrap().parse::<u64>().unwrap() > 0);
    wait_until("spans", DEADLINE, async || (!collector.spans().is_empty()).then_some(())).await;

    // What has not been sent yet is sent at the end. With this delay, nothing would be sent before.
    collector.set_manner(Manner::Accepts);
    pod.process.signal("TERM").unwrap();
    assert!(pod.process.wait_exit(DEADLINE).await.unwrap().success());
    assert_eq!(count(&pod.process, "telemetry_lost"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_costs_no_slot_and_does_not_delay_the_end_for_long() {
    let collector = Collector::start().await.unwrap();
    collector.set_manner(Manner::Hangs);
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL)
        .asking(&upstream)
        .traced_by(&collector)
        .with("OTEL_BSP_MAX_QUEUE_SIZE", "8")
        .with("OTEL_EXPORTER_OTLP_TIMEOUT", "3000");
    let mut pod = scene.standalone("pod").await;
    wait_until("a request", DEADLINE, async || (collector.requests() > 0).then_some(())).await;
    // The queue is full after two slots. Slots and requests go on.
    pod.takes_in(10).await;
    assert_eq!(collector.spans(), []);
    pod.process.wait_for_line(|line| has_event(line, "telemetry_lost"), DEADLINE).await.unwrap();
    pod.process.signal("TERM").unwrap();
    assert!(pod.process.wait_exit(DEADLINE).await.unwrap().success());
    assert_eq!(count(&pod.process, "telemetry_lost"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_spans_are_sent_when_the_process_ends() {
    let collector = Collector::start().await.unwrap();
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream).traced_by(&collector);
    // With this delay, nothing is sent before the end.
    let command = scene.command("pod").env("OTEL_BSP_SCHEDULE_DELAY", "3600000").arg("run");
    let mut pod = Pod::of(command.start().unwrap()).await;
    pod.takes_in(2).await;
    assert_eq!(collector.spans(), []);
    pod.process.signal("TERM").unwrap();
    assert!(pod.process.wait_exit(DEADLINE).await.unwrap().success());
    assert!(collector.spans().iter().any(|span| span.name == "commit"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telemetry_that_cannot_be_used_is_reported_and_the_process_continues() {
    let upstream = moving_upstream(INTERVAL).await;
    for (variable, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_SAMPLER", "xray"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "not a url"),
    ] {
        let scene = Scene::new(INTERVAL)
            .asking(&upstream)
            .with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
            .with(variable, value);
        let pod = scene.standalone("pod").await;
        has_price(&pod).await;
        let fault = |line: &str| has_event(line, "telemetry_not_exported");
        let line = pod.process.wait_for_line(fault, DEADLINE).await.unwrap();
        assert!(line.contains(value), "{line}");
    }
    for (variable, value) in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        let collector = Collector::start().await.unwrap();
        let scene = Scene::new(INTERVAL).asking(&upstream).traced_by(&collector).with(variable, value);
        let pod = scene.standalone("pod").await;
        pod.takes_in(2).await;
        slots_pass(1, INTERVAL).await;
        assert_eq!((collector.requests(), count(&pod.process, "telemetry_exported")), (0, 0), "{variable}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_filter_can_be_changed_and_log_lines_name_their_trace() {
    let collector = Collector::start().await.unwrap();
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL)
        .asking(&upstream)
        .traced_by(&collector)
        .with("OTEL_LOGS_EXPORTER", "otlp")
        .with("TICKWELL__ADMIN__LISTEN", "127.0.0.1:0");
    let pod = scene.standalone("pod").await;
    let url = format!("{}/admin/log-filter", crate::backup::operators(&pod.process).await);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let current = async || client.get(&url).send().await.unwrap().text().await.unwrap();
    assert_eq!(current().await, "info\n");
    let put = async |filter: &'static str| {
        let response = client.put(&url).body(filter).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, said) = put("poller=loud").await;
    assert!(status == 400 && said.contains("poller=loud"), "{said}");
    assert_eq!((current().await.as_str(), count(&pod.process, "source_requested")), ("info\n", 0));

    assert_eq!(put("info,poller=debug\n").await, (200, "info,poller=debug\n".to_owned()));
    // Lists of markets are requested in the background and do not belong to a slot.
    let asked = |line: &str| has_event(line, "source_requested") && field(line, "span_id").is_some();
    let line = pod.process.wait_for_line(asked, DEADLINE).await.unwrap();
    assert!(field(&line, "url").unwrap().starts_with(&upstream.url()), "{line}");
    assert!(field(&line, "millis").unwrap().parse::<u64>().is_ok(), "{line}");
    let (trace, id) = (field(&line, "trace_id").unwrap(), field(&line, "span_id").unwrap());
    let span = wait_until("the span of the line", DEADLINE, async || {
        collector.spans().into_iter().find(|span| (&span.trace, &span.id) == (&trace, &id))
    })
    .await;
    assert_eq!(span.name, "source.request");

    // Without a trace, a line has no ids. The collector has the lines too.
    let changed = pod.process.wait_for_line(|line| has_event(line, "log_filter_changed"), DEADLINE).await;
    assert_eq!(field(&changed.unwrap(), "span_id"), None);
    wait_until("the line at the collector", DEADLINE, async || {
        let is_same = |line: &testkit::collector::Line| {
            line.service == "tickwell" && line.attributes.get("event").is_some_and(|event| event == "serving")
        };
        collector.lines().iter().any(is_same).then_some(())
    })
    .await;

    put("error").await;
    slots_pass(1, INTERVAL).await;
    let quiet = count(&pod.process, "source_requested");
    pod.takes_in(Duration::from_secs(2).as_secs()).await;
    assert!(count(&pod.process, "source_requested") <= quiet + 3);
}
