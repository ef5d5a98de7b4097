//! Cycles through all kinds of hostile clients, and restarts the process after each cycle.

use std::time::Duration;

use testkit::hostile::innocent::Report;
use tokio::time::{Instant, sleep};

use crate::{
    attacks::Attack,
    stage::Stage,
    trial::{line, mebibytes, watch},
};

/// How long each kind runs.
const TIME: Duration = Duration::from_secs(25);

/// The pause after each kind.
const PAUSE: Duration = Duration::from_secs(5);

/// How long the process rests before its memory and descriptors are compared with those at its start.
const REST: Duration = Duration::from_secs(40);

/// Returns whether the process survived and every polite client was served.
pub(crate) async fn run(stage: &mut Stage, time: Duration) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let (mut alone, mut beside) = (Report::default(), Report::default());
    for cycle in 1_u32.. {
        let server = stage.start().await?;
        sleep(PAUSE).await;
        let calm = watch(stage, server, TIME).await?;
        let mut peak = calm.peak;
        alone.add(calm.report);
        for attack in Attack::ALL {
            let crowd = attack.begin(server).await;
            let seen = watch(stage, server, TIME).await?;
            drop(crowd);
            println!("  {}: {} at most; {}", attack.name(), mebibytes(seen.peak), line(&seen.report));
            peak.memory = peak.memory.max(seen.peak.memory);
            peak.descriptors = peak.descriptors.max(seen.peak.descriptors);
            beside.add(seen.report);
            sleep(PAUSE).await;
        }
        sleep(REST).await;
        let rested = stage.usage()?;
        println!(
            "cycle {cycle}, {} min: memory {} at the start, {} at most, {} after; descriptors {}, {}, {}; {} kills",
            begun.elapsed().as_secs() / 60,
            mebibytes(calm.last),
            mebibytes(peak),
            mebibytes(rested),
            calm.last.descriptors,
            peak.descriptors,
            rested.descriptors,
            stage.kills()?,
        );
        stage.end(cycle % 2 == 1).await?;
        if begun.elapsed() >= time {
            break;
        }
    }
    println!("innocent clients alone:  {}", line(&alone));
    println!("innocent clients beside: {}", line(&beside));
    println!("killed for memory: {}; at most {} MiB with pages of files", stage.kills()?, stage.peak()?);
    Ok(stage.kills()? == 0 && beside.failures.is_empty())
}
