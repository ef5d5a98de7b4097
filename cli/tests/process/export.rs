//! `tickwell export` from a running process and from a stopped store, compared with the records of the log.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    harness::{DEADLINE, INTERVAL, Pod, Scene, has_price, moving_upstream, slots_pass},
    records::{self, Kind, Record, time_text},
    survival::end,
};

/// Runs the command with the store of that name. Returns its exit code and its output.
pub(crate) async fn export(scene: &Scene, store: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let command = scene.command(store).args(["export", "--pair", "btc_usd"]).args(arguments);
    let mut process = command.start().unwrap();
    let code = process.wait_exit(DEADLINE).await.unwrap().code();
    (code, process.lines().join("\n"))
}

fn tick_line(record: &Record) -> String {
    let slot = time_text(record.slot.unwrap().0);
    format!("{slot},{},{},false", record.price.as_ref().unwrap(), record.sequence)
}

/// The expected rows of the records before `to`: ticks as CSV, gaps as JSON.
fn expected(records: &[Record], to: i64) -> (Vec<String>, Vec<Value>) {
    let before = |record: &&Record| record.covers().is_some_and(|(from, _)| from < to);
    let ticks = records.iter().filter(|record| record.is_tick()).filter(before).map(tick_line);
    let gaps = records.iter().filter(|record| record.kind == Kind::Gap).filter(before).map(|record| {
        let explained: Value = serde_json::from_slice(&record.bytes).unwrap();
        let (from, last) = record.covers().unwrap();
        json!({
            "from": time_text(from), "to": time_text(last), "slots": (last - from) / record.interval() + 1,
            "interval": explained["interval"], "cause": record.cause, "backfilled": false, "sequence": record.sequence,
            "epoch": record.epoch, "sources": record.quotes.as_ref().map(Vec::len),
        })
    });
    (["slot,price,sequence,backfilled".to_owned()].into_iter().chain(ticks).collect(), gaps.collect())
}

async fn restarted(scene: &Scene, mut process: Pod) -> Pod {
    process.process.kill();
    slots_pass(3, INTERVAL).await;
    let process = scene.standalone("only").await;
    process.takes_in(6).await;
    process
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_has_the_records_of_the_log_whether_the_process_runs_or_not() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let (code, said) = export(&scene, "only", &[]).await;
    assert!(code == Some(1) && said.contains("there is no store in"), "{said}");
    assert!(!scene.store("only").exists(), "a failed command creates no store");

    let process = scene.standalone("only").await;
    has_price(&process).await;
    let mut process = restarted(&scene, process).await;
    let (code, said) = export(&scene, "only", &[]).await;
    assert!(code == Some(1) && said.contains("--url http://"), "{said}");
    // Compare up to the current newest slot, because more slots follow.
    let records = records::all(&process).await;
    let to = records.iter().rev().find_map(|record| record.slot).unwrap().0;
    let (ticks, gaps) = expected(&records, to);
    assert!(ticks.len() > 3 && !gaps.is_empty());
    let to = time_text(to);
    let first = ticks[1].split(',').next().unwrap().to_owned();
    for through in [["--url", &process.url].as_slice(), &[]] {
        if through.is_empty() {
            end(&mut process.process).await;
        }
        let range = [&["--to", &to], through].concat();
        let run = async |arguments: &[&str]| {
            let (code, said) = export(&scene, "only", &[arguments, &range].concat()).await;
            assert_eq!(code, Some(0), "{said}");
            said
        };
        assert_eq!(run(&[]).await.lines().collect::<Vec<_>>(), ticks);
        let without_first = run(&["--from", &time_text(millis(&first) + 1)]).await;
        assert_eq!(without_first.lines().skip(1).collect::<Vec<_>>(), ticks[2..]);
        let lines = run(&["--gaps", "--format", "ndjson"]).await;
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines, gaps);
        check_file(&scene, &range, &ticks).await;
    }
    let (code, said) = export(&scene, "only", &["--from", "1795219240"]).await;
    assert!(code == Some(2) && said.contains("looks like seconds"), "{said}");
}

/// Checks the export into a file. The file must be complete, and must replace an existing file only with `--force`.
async fn check_file(scene: &Scene, range: &[&str], ticks: &[String]) {
    let path = scene.folder().join("ticks.csv");
    let name = path.display().to_string();
    let run =
        async |more: &[&str]| export(scene, "only", &[range, &["--output", &name], more].concat()).await;
    let read =
        |path: &Path| std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    std::fs::write(&path, "precious\n").unwrap();
    let (code, said) = run(&[]).await;
    assert!(code == Some(1) && said.contains("--force"), "{said}");
    assert_eq!(read(&path), ["precious"]);
    let (code, said) = run(&["--force"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("{} ticks of BTC-USD to {name}", ticks.len() - 1)), "{said}");
    assert_eq!(read(&path), ticks);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(run(&[]).await.0, Some(0));
    assert_eq!(read(&path), ticks);
    std::fs::remove_file(&path).unwrap();
}

fn millis(time: &str) -> i64 {
    records::Time::try_from(time.to_owned()).unwrap().0
}
