//! `tickwell backup` and `tickwell restore`: copies a store into one file, and creates a store from it.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use common::clock::{Clock, SystemClock};
use ledger::store::backup::{Backup, Summary, check, restore as restore_store};

use crate::{
    output::{self, Output},
    pod::{Key, PodClient},
    progress::{MEGABYTE, Progress, far},
    runtime,
    settings::{self, SettingsLayers},
    show,
    stopped::{self, Incomplete},
};

/// How much is copied before the next check for an interruption.
const CHUNK_BYTES: usize = 1024 * 1024;

/// What to back up, and where to.
#[derive(Debug, Args)]
pub(crate) struct BackupArguments {
    /// The admin address (admin.listen) of a running pod, such as http://127.0.0.1:9090. If not given, the store in
    /// store.path is read, which no running process may be using
    #[arg(long, value_name = "URL")]
    from: Option<String>,

    /// The file to write the backup to
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// Replace the file if it already exists
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    incomplete: Incomplete,
}

/// What to restore, and where to.
#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// The backup to restore
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The directory to create the store in. If not given: store.path
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// Writes a backup, and reads it again to verify it.
pub(crate) fn backup(arguments: &BackupArguments, layers: SettingsLayers) -> Result<()> {
    let copied = async {
        let mut output = Output::begin(&arguments.output, arguments.force)?;
        match &arguments.from {
            Some(url) => download(&PodClient::new("--from", url, &Key::default())?, &mut output).await?,
            None => copy(layers, arguments.incomplete, &mut output).await?,
        }
        let summary = check(BufReader::new(output.reread()?))?;
        output.finish()?;
        Ok(summary)
    };
    let summary = runtime::block_on(output::unless_interrupted(copied))?;
    show::print(&format!("Backed up {} to {}\n", describe(&summary), arguments.output.display()))
}

async fn download(pod: &PodClient, output: &mut Output) -> Result<()> {
    let mut progress = Progress::new();
    progress.show(|| "waiting for the pod to copy its store".to_owned());
    let mut download = pod.download_backup().await?;
    let (length, mut taken) = (download.length(), 0);
    let mut write = BufWriter::new(output);
    while let Some(chunk) = download.next().await? {
        let chunk = chunk.as_ref();
        write.write_all(chunk)?;
        taken += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        progress.show(|| far(taken, length));
    }
    Ok(write.flush()?)
}

async fn copy(layers: SettingsLayers, incomplete: Incomplete, output: &mut Output) -> Result<()> {
    let settings = settings::load_log(layers, false)?;
    let store = stopped::open(&settings, "--from", &settings.admin.listen, incomplete)?;
    let store = store.with_context(|| {
        let folder = settings.store.path.display();
        format!(
            "there is no store in {folder}; set store.path to the directory of a store, or use --from to back up a \
             running pod"
        )
    })?;
    let Backup { mut file, summary, .. } = store.backup(SystemClock.now())?;
    let mut progress = Progress::new();
    let mut taken = 0;
    while taken < summary.bytes {
        // Let `unless_interrupted` notice an interruption.
        tokio::task::yield_now().await;
        let copied = io::copy(&mut Read::by_ref(&mut file).take(CHUNK_BYTES as u64), output)?;
        ensure!(copied > 0, "the copy of the store is shorter than expected; try again");
        taken += copied;
        progress.show(|| far(taken, Some(summary.bytes)));
    }
    Ok(())
}

/// Creates a store from a backup.
pub(crate) fn restore(arguments: &RestoreArguments, layers: SettingsLayers) -> Result<()> {
    let folder = match &arguments.path {
        Some(path) => path.clone(),
        None => settings::load_log(layers, false)?.store.path,
    };
    let file = &arguments.file;
    let open = || -> io::Result<(File, u64)> {
        let file = File::open(file)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    let (read, length) = open().with_context(|| format!("cannot read {}", file.display()))?;
    let stopped = Arc::new(AtomicBool::new(false));
    let source = BackupFile { read, length, taken: 0, progress: Progress::new(), stopped: stopped.clone() };
    let work = {
        let folder = folder.clone();
        move || restore_store(&folder, BufReader::with_capacity(CHUNK_BYTES, source))
    };
    let restored = runtime::block_on(async {
        let mut restoring = tokio::task::spawn_blocking(work);
        tokio::select! {
            restored = &mut restoring => anyhow::Ok(restored?),
            interrupted = output::interruption() => {
                interrupted?;
                // The next read fails, and so does the restore, which then deletes what it has written.
                stopped.store(true, Ordering::Relaxed);
                Ok(restoring.await?)
            }
        }
    })?;
    let summary = restored.with_context(|| format!("cannot restore {}", file.display()))?;
    show::print(&restored_text(&summary, &folder))
}

fn restored_text(summary: &Summary, folder: &Path) -> String {
    format!("Restored {} to the store in {}\n", describe(summary), folder.display())
}

fn describe(summary: &Summary) -> String {
    let Summary { header, rows, bytes } = summary;
    format!(
        "the log {} up to sequence {}, as of {} ({rows} rows, {} MB)",
        header.log,
        header.sequence,
        header.made_at,
        bytes.div_ceil(MEGABYTE)
    )
}

/// The file of a backup, which shows progress while it is read.
struct BackupFile {
    read: File,
    length: u64,
    taken: u64,
    progress: Progress,
    /// Set if the process was asked to stop.
    stopped: Arc<AtomicBool>,
}

impl Read for BackupFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted; unfinished files were deleted"));
        }
        let read = self.read.read(buffer)?;
        self.taken += u64::try_from(read).unwrap_or(u64::MAX);
        let (taken, length) = (self.taken, self.length);
        self.progress.show(|| far(taken, Some(length)));
        Ok(read)
    }
}
