//! `tickwell backup` and `tickwell restore`: a store in one file, and back.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use common::clock::{Clock, SystemClock};
use ledger::store::backup::{Backup, Summary, check, restore as restore_store};

use crate::{
    output::{self, Output},
    pod::{Key, Pod},
    progress::{MEGABYTE, Progress, far},
    settings::{self, Sources},
    show, stopped,
};

/// How much is copied between two looks at whether to go on.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Of what, and where to.
#[derive(Debug, Args)]
pub(crate) struct BackupArguments {
    /// The admin listener of a running pod, such as http://127.0.0.1:9090; the stopped store in store.path, if
    /// absent
    #[arg(long, value_name = "URL")]
    from: Option<String>,

    /// The file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// Replace the file if it is there already
    #[arg(long)]
    force: bool,
}

/// Of what, and where to.
#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The folder that will be the store.path; that of the settings, if absent
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// Makes a backup, and reads it once again to see that it is one.
pub(crate) fn backup(arguments: &BackupArguments, sources: Sources) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let copied = async {
        let mut output = Output::begin(&arguments.output, arguments.force)?;
        match &arguments.from {
            Some(url) => download(&Pod::new("--from", url, &Key::default())?, &mut output).await?,
            None => copy(sources, &mut output).await?,
        }
        let summary = check(BufReader::new(output.reread()?))?;
        output.finish()?;
        Ok(summary)
    };
    let summary =
        runtime.context("cannot start the runtime")?.block_on(output::unless_interrupted(copied))?;
    show::print(&format!("{} in {}\n", describe(&summary), arguments.output.display()))
}

async fn download(pod: &Pod, output: &mut Output) -> Result<()> {
    let mut progress = Progress::new();
    progress.show(|| "the pod copies its store".to_owned());
    let mut answer = pod.download("/admin/backup").await?;
    let (length, mut taken) = (answer.length(), 0);
    let mut write = BufWriter::new(output);
    while let Some(chunk) = answer.next().await? {
        let chunk = chunk.as_ref();
        write.write_all(chunk)?;
        taken += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        progress.show(|| far(taken, length));
    }
    Ok(write.flush()?)
}

async fn copy(sources: Sources, output: &mut Output) -> Result<()> {
    let settings = settings::load_log(sources, false)?;
    let store = stopped::open(&settings, "--from", &settings.admin.listen)?;
    let store = store.with_context(|| {
        let folder = settings.store.path.display();
        format!(
            "there is no store in {folder}; name one with --set store.path=…, or a running pod with --from"
        )
    })?;
    let Backup { mut file, summary, .. } = store.backup(SystemClock.now())?;
    let mut progress = Progress::new();
    let mut taken = 0;
    while taken < summary.bytes {
        // Who waits for an interruption has a chance to see it.
        tokio::task::yield_now().await;
        let copied = io::copy(&mut Read::by_ref(&mut file).take(CHUNK_BYTES as u64), output)?;
        ensure!(copied > 0, "the copy of the store ended too soon");
        taken += copied;
        progress.show(|| far(taken, Some(summary.bytes)));
    }
    Ok(())
}

/// Makes a store of a backup.
pub(crate) fn restore(arguments: &RestoreArguments, sources: Sources) -> Result<()> {
    let folder = match &arguments.path {
        Some(path) => path.clone(),
        None => settings::load_log(sources, false)?.store.path,
    };
    let file = &arguments.file;
    let open = || -> io::Result<(File, u64)> {
        let file = File::open(file)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    let (read, length) = open().with_context(|| format!("cannot read {}", file.display()))?;
    let watched = Watched { read, length, taken: 0, progress: Progress::new() };
    let restored = restore_store(&folder, BufReader::with_capacity(CHUNK_BYTES, watched));
    let summary = restored.with_context(|| format!("{} was not restored", file.display()))?;
    show::print(&restored_text(&summary, &folder))
}

fn restored_text(summary: &Summary, folder: &Path) -> String {
    format!("{} is now the store in {}\n", describe(summary), folder.display())
}

fn describe(summary: &Summary) -> String {
    let Summary { header, rows, bytes } = summary;
    format!(
        "the log {} up to sequence {}, as of {}: {rows} rows, {} MB,",
        header.log,
        header.sequence,
        header.made_at,
        bytes.div_ceil(MEGABYTE)
    )
}

/// A file that is read, with how far.
struct Watched {
    read: File,
    length: u64,
    taken: u64,
    progress: Progress,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.read.read(buffer)?;
        self.taken += u64::try_from(read).unwrap_or(u64::MAX);
        let (taken, length) = (self.taken, self.length);
        self.progress.show(|| far(taken, Some(length)));
        Ok(read)
    }
}
