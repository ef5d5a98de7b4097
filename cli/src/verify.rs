//! `tickwell verify-pods`: sends the same requests to several pods, pinned to one sequence, and compares the responses.
//!
//! - [`routes`]: the requests.
//! - [`compare`]: compares responses and finds the first difference.

mod compare;
mod routes;

use std::{fmt, process::ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use common::domain::Sequence;
use futures::future::try_join_all;

use crate::{
    pod::{DEFAULT_URL, Key, KeyArguments, PodClient, Response, StatusCode},
    progress::Progress,
    runtime, show,
};
use compare::Compared;
use routes::Request;

/// The maximum number of pods. All of them get a request at the same time, and all responses are in memory together.
const MAX_PODS: usize = 16;

/// The exit code if the pods could not be compared. The exit code 1 means that their responses differ.
const NOT_COMPARED: u8 = 2;

/// Which pods to compare.
#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    #[arg(
        value_name = "URL",
        required = true,
        num_args = 2..=MAX_PODS,
        help = format!("The addresses of 2 to {MAX_PODS} pods, such as {DEFAULT_URL}")
    )]
    urls: Vec<String>,

    #[command(flatten)]
    key: KeyArguments,
}

/// The number of requests by result.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    same: usize,
    differing: usize,
    skipped: usize,
}

/// Compares the pods, and returns the exit code of the process.
pub(crate) fn run(arguments: &VerifyArguments) -> ExitCode {
    let verified = || {
        let key = arguments.key.find()?;
        runtime::block_on(verify(&arguments.urls, &key, &mut show::print))
    };
    match verified() {
        Ok(Tally { differing: 0, .. }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            show::failure(&error);
            ExitCode::from(NOT_COMPARED)
        }
    }
}

/// Prints a line of the report.
type Say<'a> = &'a mut dyn FnMut(&str) -> Result<()>;

async fn verify(urls: &[String], key: &Key, say: Say<'_>) -> Result<Tally> {
    let pods: Vec<PodClient> =
        urls.iter().map(|url| PodClient::new("URL", url, key)).collect::<Result<_>>()?;
    let newest = try_join_all(pods.iter().map(async |pod| {
        pod.newest().await.with_context(|| format!("cannot read the newest sequence of {}", pod.url()))
    }));
    let newest = newest.await?;
    let logs = pods.iter().zip(&newest).filter_map(|(pod, (_, log))| Some((pod.url(), log.as_deref()?)));
    require_one_log(&logs.collect::<Vec<_>>())?;
    let sequence = newest.into_iter().map(|(sequence, _log)| sequence).min().unwrap_or_default();
    ensure!(
        sequence > Sequence(0),
        "the log has no records yet, so there is nothing to compare; try again once there is a price"
    );
    say(&format!("Comparing at sequence {sequence}:\n"))?;
    for (number, pod) in pods.iter().enumerate() {
        say(&format!("  {}  {}\n", Name(number), pod.url()))?;
    }

    let (mut tally, mut progress) = (Tally::default(), Progress::new());
    let mut requests = routes::first(sequence);
    while let Some(request) = requests.pop_front() {
        let path = request.pinned(sequence);
        progress.show(|| format!("{} compared, {} to go: {path}", tally.requests(), requests.len()));
        let responses = try_join_all(pods.iter().map(|pod| ask(pod, &path, sequence))).await?;
        if let Some(response) = responses.iter().find(|response| response.status == StatusCode::OK) {
            requests.extend(request.next(response));
        }
        let compared = compare::compare(&responses);
        progress.clear();
        say(&line(&request, &compared))?;
        tally.count(&compared);
    }
    say(&format!("{tally}\n"))?;
    Ok(tally)
}

/// Fails if two pods follow different logs. Then the same sequence means different records, so that almost every
/// response differs.
fn require_one_log(logs: &[(&str, &str)]) -> Result<()> {
    let Some(((first, log), others)) = logs.split_first() else { return Ok(()) };
    match others.iter().find(|(_, other)| other != log) {
        Some((url, other)) => bail!(
            "{first} and {url} follow different logs ({log} and {other}), so their responses cannot be the same; compare \
             pods with the same bus.url and bus.stream"
        ),
        None => Ok(()),
    }
}

/// Requests `path` from one pod, as of the sequence. Fails if the pod cannot respond as of that sequence, or has an
/// internal problem.
async fn ask(pod: &PodClient, path: &str, sequence: Sequence) -> Result<Response> {
    let response = pod.get(path).await.with_context(|| format!("cannot request {}{path}", pod.url()))?;
    match (response.status, response.sequence()) {
        (StatusCode::GONE, _) => bail!(
            "{} no longer has sequence {sequence} in memory, which is the newest sequence of another pod; try again \
             when that other pod has caught up with the log",
            pod.url()
        ),
        (status, _) if status.is_server_error() && response.code() != "no_price_yet" => {
            Err(pod.refusal(&response).context(format!("cannot compare {path}")))
        }
        (StatusCode::OK, Some(other)) if other != sequence => bail!(
            "{} responded as of sequence {other} instead of {sequence}: the version of this pod does not support \
             at_sequence; upgrade the pod",
            pod.url()
        ),
        _ => Ok(response),
    }
}

fn line(request: &Request, compared: &Compared) -> String {
    match compared {
        Compared::Same(None) => format!("same     {request}\n"),
        Compared::Same(Some(code)) => format!("same     {request}: all respond with {code}\n"),
        Compared::NoRoute(pods) => {
            let pods: Vec<String> = pods.iter().map(|number| Name(*number).to_string()).collect();
            format!("skipped  {request}: {} has no such route\n", pods.join(", "))
        }
        Compared::Differ(differences) => {
            let details = differences.iter().map(|difference| {
                let (one, other) = (Name(0), Name(difference.pod));
                format!(
                    "           {}\n             {one}  {}\n             {other}  {}\n",
                    difference.place, difference.values[0], difference.values[1]
                )
            });
            format!("DIFFERS  {request}\n{}", details.collect::<String>())
        }
    }
}

/// The letter that stands for a pod in the report.
struct Name(usize);

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = ('A'..='Z').nth(self.0).unwrap_or('?');
        write!(formatter, "{letter}")
    }
}

impl Tally {
    fn requests(&self) -> usize {
        self.same + self.differing + self.skipped
    }

    fn count(&mut self, compared: &Compared) {
        match compared {
            Compared::Same(_) => self.same += 1,
            Compared::Differ(_) => self.differing += 1,
            Compared::NoRoute(_) => self.skipped += 1,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { same, differing, skipped } = self;
        write!(
            formatter,
            "{} requests: {same} same, {differing} differing, {skipped} skipped",
            self.requests()
        )
    }
}

#[cfg(test)]
mod tests;
