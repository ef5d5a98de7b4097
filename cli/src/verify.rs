//! `tickwell verify-pods`: pods are asked for the same sequence, and their answers compared byte for byte.
//!
//! - [`routes`]: what is asked.
//! - [`compare`]: whether answers are the same, and where the first difference is.

mod compare;
mod routes;

use std::{fmt, process::ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use common::domain::Sequence;
use futures::future::try_join_all;

use crate::{
    pod::{Answer, Key, KeyArguments, PodClient, StatusCode},
    progress::Progress,
    show,
};
use compare::Compared;
use routes::Question;

/// Pods that are compared at once: they are asked all at the same time, and each answer is kept until all
/// are there.
const MAX_PODS: usize = 16;

/// What the process says where the pods could not be asked. One more than "they differ".
const NOT_ASKED: u8 = 2;

/// Which pods.
#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    /// The addresses of two to 16 pods, such as http://127.0.0.1:8080
    #[arg(value_name = "URL", required = true, num_args = 2..=MAX_PODS)]
    urls: Vec<String>,

    #[command(flatten)]
    key: KeyArguments,
}

/// What came of all questions.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    same: usize,
    differing: usize,
    skipped: usize,
}

/// Compares the pods, and tells how the process should end.
pub(crate) fn run(arguments: &VerifyArguments) -> ExitCode {
    let verified = || {
        let key = arguments.key.find()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("cannot start the runtime")?.block_on(verify(&arguments.urls, &key, &mut show::print))
    };
    match verified() {
        Ok(Tally { differing: 0, .. }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            show::failure(&error);
            ExitCode::from(NOT_ASKED)
        }
    }
}

/// Told of each line, as soon as it is known.
type Say<'a> = &'a mut dyn FnMut(&str) -> Result<()>;

async fn verify(urls: &[String], key: &Key, say: Say<'_>) -> Result<Tally> {
    let pods: Vec<PodClient> =
        urls.iter().map(|url| PodClient::new("URL", url, key)).collect::<Result<_>>()?;
    let newest = try_join_all(pods.iter().map(async |pod| {
        pod.newest().await.with_context(|| format!("{} does not say where it is", pod.url()))
    }));
    let sequence = newest.await?.into_iter().min().unwrap_or_default();
    ensure!(sequence > Sequence(0), "the log has no record yet: there is nothing to compare");
    say(&format!("at sequence {sequence} of the log:\n"))?;
    for (number, pod) in pods.iter().enumerate() {
        say(&format!("  {}  {}\n", Name(number), pod.url()))?;
    }

    let (mut tally, mut progress) = (Tally::default(), Progress::new());
    let mut questions = routes::first(sequence);
    while let Some(question) = questions.pop_front() {
        let path = question.pinned(sequence);
        progress.show(|| format!("{} asked, {} to go: {path}", tally.asked(), questions.len()));
        let answers = try_join_all(pods.iter().map(|pod| ask(pod, &path, sequence))).await?;
        if let Some(answer) = answers.iter().find(|answer| answer.status == StatusCode::OK) {
            questions.extend(question.next(answer));
        }
        let compared = compare::compare(&answers);
        progress.clear();
        say(&line(&question, &compared))?;
        tally.count(&compared);
    }
    say(&format!("{tally}\n"))?;
    Ok(tally)
}

/// What a pod answers as of the sequence. An error of its own is none of the answers that can be compared.
async fn ask(pod: &PodClient, path: &str, sequence: Sequence) -> Result<Answer> {
    let answer = pod.get(path).await.with_context(|| format!("{}{path} does not answer", pod.url()))?;
    match (answer.status, answer.sequence()) {
        (StatusCode::GONE, _) => bail!(
            "{} no longer answers for {sequence}: another pod is that far behind it; ask again when that one has \
             caught up",
            pod.url()
        ),
        (status, _) if status.is_server_error() && answer.code() != "no_price_yet" => {
            Err(pod.refusal(&answer).context(format!("{path} cannot be compared")))
        }
        (StatusCode::OK, Some(told)) if told != sequence => bail!(
            "{} answers from {told} and not from {sequence}: it is of a version that does not know at_sequence",
            pod.url()
        ),
        _ => Ok(answer),
    }
}

fn line(question: &Question, compared: &Compared) -> String {
    match compared {
        Compared::Same(None) => format!("same     {question}\n"),
        Compared::Same(Some(code)) => format!("same     {question}: all refuse it, {code}\n"),
        Compared::NoRoute(pods) => {
            let pods: Vec<String> = pods.iter().map(|number| Name(*number).to_string()).collect();
            format!("skipped  {question}: {} has no such route\n", pods.join(", "))
        }
        Compared::Differ(differences) => {
            let details = differences.iter().map(|difference| {
                let (one, other) = (Name(0), Name(difference.pod));
                format!(
                    "           {}\n             {one}  {}\n             {other}  {}\n",
                    difference.place, difference.values[0], difference.values[1]
                )
            });
            format!("DIFFERS  {question}\n{}", details.collect::<String>())
        }
    }
}

/// Pods are called by letters.
struct Name(usize);

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = ('A'..='Z').nth(self.0).unwrap_or('?');
        write!(formatter, "{letter}")
    }
}

impl Tally {
    fn asked(&self) -> usize {
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
        write!(formatter, "{} questions: {same} same, {differing} differing, {skipped} skipped", self.asked())
    }
}

#[cfg(test)]
mod tests;
