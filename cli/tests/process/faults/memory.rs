//! Bodies that would fill the memory must be rejected while the process is still small.

use testkit::{
    Venue::{self, Gemini, Kraken},
    usage::kilobytes,
};

use super::Trial;

/// How much the process's peak memory may grow because of the bodies that are rejected, in kilobytes.
const MAX_GROWTH_KILOBYTES: u64 = 16 * 1024;

/// The minimum number of bodies that are rejected before the memory is measured.
const BODIES: usize = 3;

/// About 96 kB of gzip that decompress to 96 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bomb() {
    stays_small(Kraken, "bomb").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_without_an_end() {
    stays_small(Gemini, "endless").await;
}

async fn stays_small(venue: Venue, fault: &str) {
    let mut trial = Trial::start(&Venue::USD_EXCHANGES).await;
    let before = peak_kilobytes(&trial);
    trial.begin(&[venue], fault);
    super::is_marked(&mut trial, venue, "too_large", BODIES).await;
    let grown = peak_kilobytes(&trial).saturating_sub(before);
    println!("{fault}: the peak grew by {grown} kB");
    assert!(grown <= MAX_GROWTH_KILOBYTES, "{grown} kB more");
}

/// The peak memory of the process.
fn peak_kilobytes(trial: &Trial) -> u64 {
    kilobytes(trial.pod.process.id(), "VmHWM").unwrap()
}
