//! `tickwell price` from a running process, compared with the records of the log.

use std::fs;

use crate::{
    harness::{DEADLINE, INTERVAL, Scene, has_price, moving_upstream, slots_pass},
    records::{self, Kind, time_text},
};

/// Runs the command. Returns its exit code and its output.
async fn price(scene: &Scene, arguments: &[&str]) -> (Option<i32>, String) {
    let mut process = scene.command("unused").arg("price").args(arguments).start().unwrap();
    let code = process.wait_exit(DEADLINE).await.unwrap().code();
    (code, process.lines().join("\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prices_at_given_times_are_those_of_the_log() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let mut process = scene.standalone("only").await;
    has_price(&process).await;
    // While no process runs, slots pass for which the next process appends a gap.
    process.process.kill();
    slots_pass(3, INTERVAL).await;
    let process = scene.standalone("only").await;
    process.takes_in(4).await;
    let records = records::all(&process).await;
    let tick = records.iter().find(|record| record.is_tick()).unwrap();
    let gap = records.iter().find(|record| record.kind == Kind::Gap).unwrap();
    let (slot, (from, _)) = (tick.slot.unwrap().0, gap.covers().unwrap());
    let (stood, missing) = (time_text(slot), time_text(from));

    let (code, said) = price(&scene, &["btc_usd", "--at", &stood, "--url", &process.url]).await;
    let (text, sequence) = (tick.price.as_ref().unwrap(), tick.sequence);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.trim_end(), format!("{stood} BTC-USD {text} (slot {stood}, sequence {sequence})"));
    let (code, said) =
        price(&scene, &["BTC-USD", "--at", &stood, "--at", &missing, "--url", &process.url]).await;
    let cause = gap.cause.as_ref().unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("gap from {missing}")) && said.contains(cause), "{said}");
    let (code, said) = price(&scene, &["BTC-USD", "--url", &process.url]).await;
    assert!(code == Some(0) && said.starts_with("BTC-USD "), "{said}");

    let file = |name: &str| scene.folder().join(name).display().to_string();
    let (input, output) = (file("in.csv"), file("out.csv"));
    fs::write(&input, format!("at\n{}\n{from}\n2100-01-01\n", slot + 1)).unwrap();
    let asked =
        ["BTC-USD", "--annotate", &input, "--time-column", "at", "--output", &output, "--url", &process.url];
    let (code, said) = price(&scene, &asked).await;
    assert_eq!(code, Some(0), "{said}");
    let expected = format!(
        "at,price,price_slot,price_sequence,price_outcome\n{},{text},{stood},{sequence},tick\n{from},,,,gap\n\
         2100-01-01,,,,future\n",
        slot + 1
    );
    assert_eq!(fs::read_to_string(&output).unwrap(), expected);
    let (code, said) = price(&scene, &asked).await;
    assert!(code == Some(1) && said.contains("--force"), "{said}");
}
