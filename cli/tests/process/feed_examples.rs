//! The programs in `docs/examples` that follow the feed on NATS, each in another language. They use the same file for
//! their position, so each one can continue where another one stopped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use testkit::{require_nats, wait_until};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{
    harness::{BINARY, DEADLINE, Pod, has_price},
    roles::{Shipped, stage},
    tools::{node_packages, python, workspace},
};

/// How many records are read at once.
const SOME: usize = 5;

const LEASE: [&str; 2] = ["--set", "bus.lease=60s"];

/// The seconds of silence after which the scripts report a dead feed, in place of 30 s.
const SILENCE_SECONDS: &str = "3";

/// A program that follows the feed.
pub(crate) struct Example {
    command: Vec<PathBuf>,
    /// Whether it reports a dead feed after [`SILENCE_SECONDS`].
    is_impatient: bool,
}

impl Example {
    pub(crate) fn python() -> Option<Self> {
        Some(Self { command: vec![python()?, example_file("resume.py")], is_impatient: false })
    }

    /// The example in Python, which reports a dead feed soon.
    fn impatient_python(folder: &Path) -> Option<Self> {
        let script = impatient(folder, "resume.py", "SILENCE = 30", &format!("SILENCE = {SILENCE_SECONDS}"));
        Some(Self { command: vec![python()?, script], is_impatient: true })
    }

    /// The example in JavaScript, which reports a dead feed soon.
    fn impatient_javascript(folder: &Path) -> Option<Self> {
        let packages = node_packages("@nats-io/jetstream")?;
        let milliseconds = format!("SILENCE_MS = {SILENCE_SECONDS}_000");
        let script = impatient(folder, "resume.mjs", "SILENCE_MS = 30_000", &milliseconds);
        std::os::unix::fs::symlink(packages, folder.join("node_modules")).unwrap();
        Some(Self { command: vec!["node".into(), script], is_impatient: true })
    }

    /// The example in Rust. `cargo test --workspace` builds it; if only some tests were built, it is built here.
    async fn rust() -> Self {
        let (binary, source) =
            (Path::new(BINARY).with_file_name("examples/resume"), example_file("resume.rs"));
        let changed = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
        if changed(&binary) < changed(&source) {
            let cargo = std::env::var_os("CARGO").unwrap();
            let arguments = ["build", "--quiet", "--package", "tickwell", "--example", "resume"];
            assert!(Command::new(cargo).args(arguments).status().await.unwrap().success());
        }
        Self { command: vec![binary], is_impatient: false }
    }

    /// The example in Go. The script installs what is needed to build it.
    async fn go() -> Self {
        let built = Command::new(workspace().join("scripts/go-example")).output().await.unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let binary = String::from_utf8(built.stdout).unwrap().trim().into();
        Self { command: vec![binary], is_impatient: false }
    }

    /// Starts the program with the key of the role feed, and with a file for its position.
    pub(crate) fn start(&self, shipped: &Shipped, state: &Path) -> Running {
        self.start_at(shipped, state, None)
    }

    /// Like [`Example::start`]. If there is no position yet, the program begins with the records of this time.
    fn start_at(&self, shipped: &Shipped, state: &Path, time: Option<&str>) -> Running {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).arg(shipped.nats.url()).arg(state).arg(shipped.seed_file("feed"));
        let said = state.with_extension("stderr");
        let stderr = fs::File::create(&said).unwrap();
        command.args(time).stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Running { process, lines, sequences: Vec::new(), state: state.to_owned(), said }
    }
}

fn example_file(name: &str) -> PathBuf {
    workspace().join("docs/examples").join(name)
}

/// A copy of an example in which one text is replaced.
fn impatient(folder: &Path, name: &str, from: &str, to: &str) -> PathBuf {
    let text = fs::read_to_string(example_file(name)).unwrap();
    assert!(text.contains(from), "{name} does not contain {from}");
    let path = folder.join(name);
    fs::write(&path, text.replace(from, to)).unwrap();
    path
}

/// A program that runs.
pub(crate) struct Running {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    sequences: Vec<u64>,
    state: PathBuf,
    /// The file with what the program writes to stderr.
    said: PathBuf,
}

impl Running {
    /// Waits until the program has printed this many more records.
    pub(crate) async fn prints(&mut self, count: usize) {
        for _ in 0..count {
            let line = timeout(DEADLINE, self.lines.next_line()).await.unwrap().unwrap().unwrap();
            self.sequences.push(sequence(&line));
        }
    }

    /// Waits until the program has reported that there are no records.
    async fn reports_silence(&self) {
        let report = format!("no record for {SILENCE_SECONDS} s");
        let is_reported = async || fs::read_to_string(&self.said).unwrap().contains(&report).then_some(());
        wait_until("the program reports silence", DEADLINE, is_reported).await;
    }

    /// Kills the program. Returns the sequences of the records whose positions it saved. It may have printed one more,
    /// which is printed again after a restart.
    pub(crate) async fn killed(mut self) -> Vec<u64> {
        let last = *self.sequences.last().unwrap();
        let saved = async || self.saved().filter(|saved| *saved >= last);
        wait_until("the position is saved", DEADLINE, saved).await;
        self.process.kill().await.unwrap();
        while let Ok(Some(line)) = self.lines.next_line().await {
            self.sequences.push(sequence(&line));
        }
        let said = fs::read_to_string(&self.said).unwrap();
        assert!(!said.contains("Traceback"), "a lost connection is reported in a line: {said}");
        let saved = self.saved().unwrap();
        let (kept, repeated): (Vec<u64>, Vec<u64>) =
            self.sequences.iter().partition(|sequence| **sequence <= saved);
        assert!(repeated.len() <= 1 && kept.last() == Some(&saved), "{saved}: {:?}", self.sequences);
        kept
    }

    fn saved(&self) -> Option<u64> {
        let text = fs::read_to_string(&self.state).ok()?;
        serde_json::from_str::<(String, u64)>(&text).ok().map(|(_, sequence)| sequence)
    }
}

fn sequence(line: &str) -> u64 {
    line.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_in_all_languages_lose_and_repeat_nothing() {
    require_nats!();
    let folder = tempfile::tempdir().unwrap();
    let scripts = [Example::impatient_python(folder.path()), Example::impatient_javascript(folder.path())];
    let examples: Vec<Example> = [Some(Example::rust().await)].into_iter().chain(scripts).flatten().collect();
    hand_over(&examples).await;
}

/// Needs Go, which is large. `scripts/clients` runs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "downloads Go"]
async fn the_example_in_go_loses_and_repeats_nothing() {
    require_nats!();
    hand_over(&[Example::rust().await, Example::go().await, Example::rust().await]).await;
}

/// Runs the examples one after the other with the same position, while servers and pollers fail.
async fn hand_over(examples: &[Example]) {
    let (_upstream, mut shipped, scene) = stage().await;
    let folder = scene.folder().to_owned();
    let (code, said) = shipped.log(&folder, "apply", "admin", &LEASE).await;
    assert_eq!(code, Some(0), "{said}");
    let mut poller = scene.as_role("poller", &shipped.seed_file("poller")).start().unwrap();
    let pod = Pod::of(scene.as_role("api", &shipped.seed_file("api")).start().unwrap()).await;
    has_price(&pod).await;

    let state = folder.join("position");
    let mut heard = Vec::new();
    for example in examples {
        let mut running = example.start(&shipped, &state);
        running.prints(SOME).await;
        // The server forgets the consumer.
        shipped.nats.kill();
        shipped.nats.restart().await.unwrap();
        running.prints(SOME).await;
        if example.is_impatient {
            poller.signal("STOP").unwrap();
            running.reports_silence().await;
            poller.signal("CONT").unwrap();
            running.prints(SOME).await;
        }
        heard.extend(running.killed().await);
        // Records that are published while no program runs are not lost.
        pod.takes_in(2).await;
    }
    // Each can also begin with the records of a time.
    let (client, _refusals) = shipped.connect("feed").await;
    let mirror = async_nats::jetstream::new(client).get_stream_no_info("TICKS").await.unwrap();
    let start = heard[SOME];
    let time = mirror.direct_get(start).await.unwrap().time.to_rfc3339();
    for (number, example) in examples.iter().enumerate() {
        let state = folder.join(format!("position-{number}"));
        let mut running = example.start_at(&shipped, &state, Some(&time));
        running.prints(1).await;
        assert_eq!(running.killed().await[0], start, "{time}");
    }
    let first = heard[0];
    assert!(first > 1, "the first program does not begin with the oldest record");
    let expected: Vec<u64> = (first..first + u64::try_from(heard.len()).unwrap()).collect();
    assert_eq!(heard, expected);
}
