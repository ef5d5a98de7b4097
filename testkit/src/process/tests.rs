//! Tests of [`Tickwell`] with shell scripts instead of the binary.

use std::os::unix::process::ExitStatusExt;

use std::collections::BTreeSet;

use super::*;

/// The limit for waiting. It is so long that a passing test never reaches it.
const DEADLINE: Duration = Duration::from_secs(60);

/// A script that keeps running must end in `exec`. A program that runs as a child of the shell would survive when the
/// shell is killed.
fn shell(script: &str) -> TickwellCommand {
    Tickwell::command("/bin/sh", Path::new("/")).args(["-c", script])
}

#[tokio::test]
async fn lines_of_both_outputs_are_captured() {
    let mut process = shell("echo out; echo err >&2; printf last").start().unwrap();
    assert_eq!(process.wait_for_line(|line| line == "err", DEADLINE).await.unwrap(), "err");
    // An earlier line is found as well.
    assert_eq!(process.wait_for_line(|line| line == "out", DEADLINE).await.unwrap(), "out");
    assert!(process.wait_exit(DEADLINE).await.unwrap().success());
    let mut lines = process.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["err", "last", "out"]);
}

#[tokio::test]
async fn a_line_without_an_end_is_cut() {
    let mut process = shell("head -c 70000 /dev/zero | tr '\\0' x").start().unwrap();
    process.wait_exit(DEADLINE).await.unwrap();
    let lengths: Vec<usize> = process.lines().iter().map(String::len).collect();
    assert_eq!(lengths, [65_536, 70_000 - 65_536]);
}

#[tokio::test]
async fn arguments_environment_and_directory_reach_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Tickwell::command("/bin/sh", folder.path())
        .arg("-c")
        .args(["echo $1 $ONE $TWO; touch here; env", "name", "argument"])
        .env("ONE", "1")
        .envs([("TWO", "2")])
        .env("TICKWELL__OWN", "set by the test")
        .start()
        .unwrap();
    process.wait_exit(DEADLINE).await.unwrap();
    let lines = process.lines();
    assert_eq!(lines[0], "argument 1 2");
    assert!(folder.path().join("here").exists());
    let settings = lines.iter().filter(|line| line.starts_with(SETTINGS_PREFIXES[0]));
    let settings: BTreeSet<&str> = settings.map(String::as_str).collect();
    assert_eq!(settings, ["TICKWELL__OWN=set by the test", "TICKWELL__BACKFILL__SPAN=off"].into());
}

#[tokio::test]
async fn waiting_for_a_line_ends_with_the_output_and_shows_the_log() {
    let process = shell("echo all there is").start().unwrap();
    let error = process.wait_for_line(|line| line == "more", DEADLINE).await.unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("all there is") && error.contains("the output ended"), "{error}");
}

#[tokio::test]
async fn waiting_for_a_line_ends_with_the_deadline_and_shows_the_log() {
    let process = shell("echo started; exec tail -f /dev/null").start().unwrap();
    process.wait_for_line(|line| line == "started", DEADLINE).await.unwrap();
    let error = process.wait_for_line(|line| line == "more", Duration::from_millis(1)).await.unwrap_err();
    assert!(format!("{error:#}").contains("started"), "{error:#}");
}

#[tokio::test]
async fn the_url_is_in_the_serving_line_flat_or_under_fields() {
    let flat = r#"{"event":"serving","url":"http://127.0.0.1:1"}"#;
    let nested = r#"{"level":"INFO","fields":{"event":"serving","url":"http://127.0.0.1:2"}}"#;
    assert_eq!(serving_url(flat).as_deref(), Some("http://127.0.0.1:1"));
    assert_eq!(serving_url(nested).as_deref(), Some("http://127.0.0.1:2"));
    for other in ["serving", "{}", r#"{"event":"served","url":"x"}"#, r#"{"event":"serving"}"#, "3"] {
        assert_eq!(serving_url(other), None, "{other}");
    }
    let process =
        shell(&format!("echo '{{}}'; echo '{nested}' >&2; exec tail -f /dev/null")).start().unwrap();
    assert_eq!(process.url(DEADLINE).await.unwrap(), "http://127.0.0.1:2");
}

#[tokio::test]
async fn a_process_can_be_killed_twice() {
    let mut process = shell("trap '' TERM; echo started; exec tail -f /dev/null").start().unwrap();
    process.wait_for_line(|line| line == "started", DEADLINE).await.unwrap();
    process.kill();
    assert_eq!(process.wait_exit(DEADLINE).await.unwrap().signal(), Some(9));
    process.kill();
    assert!(process.signal("TERM").is_err());
}

#[tokio::test]
async fn signals_arrive() {
    let script =
        // The test uses TERM and not INT. INT is ignored in a shell's background jobs, and a shell cannot trap a signal
        // that was ignored when the shell started.
        "trap 'echo terminated; exit 7' TERM; echo started; while :; do :; done";
    let mut process = shell(script).start().unwrap();
    process.wait_for_line(|line| line == "started", DEADLINE).await.unwrap();
    assert!(process.signal("KILL").is_err());
    assert!(process.signal("0; echo").is_err());
    process.signal("STOP").unwrap();
    // The state is the field after the name in the stat file.
    let stat_file = format!("/proc/{}/stat", process.id());
    crate::wait_until("the process to stop", DEADLINE, async || {
        std::fs::read_to_string(&stat_file).unwrap().contains(") T ").then_some(())
    })
    .await;
    process.signal("TERM").unwrap();
    process.signal("CONT").unwrap();
    assert_eq!(process.wait_exit(DEADLINE).await.unwrap().code(), Some(7));
    assert_eq!(process.lines().last().unwrap(), "terminated");
}

#[tokio::test]
async fn dropping_it_ends_the_process() {
    let process = shell("exec tail -f /dev/null").start().unwrap();
    let log = Arc::clone(&process.log);
    let status_file = format!("/proc/{}/stat", process.id());
    drop(process);
    assert!(!Path::new(&status_file).exists());
    crate::wait_until("the outputs to end", DEADLINE, async || log.is_complete().then_some(())).await;
}

#[tokio::test]
async fn an_exit_waits_for_the_last_lines() {
    let folder = tempfile::tempdir().unwrap();
    // The background job keeps the output open until the file exists, or until the test ends and removes the directory.
    let script = "{ until [ -e $FOLDER/go ] || [ ! -d $FOLDER ]; do :; done; echo late; } & exit 3";
    let mut process = shell(script).env("FOLDER", folder.path()).start().unwrap();
    crate::wait_until("the shell to end", DEADLINE, async || process.child.try_wait().unwrap()).await;
    assert!(process.wait_exit(Duration::from_millis(1)).await.is_err());
    std::fs::write(folder.path().join("go"), "").unwrap();
    assert_eq!(process.wait_exit(DEADLINE).await.unwrap().code(), Some(3));
    assert_eq!(process.lines(), ["late"]);
}

#[tokio::test]
async fn waiting_for_an_exit_that_does_not_come_shows_the_log() {
    let mut process = shell("echo started; exec tail -f /dev/null").start().unwrap();
    process.wait_for_line(|line| line == "started", DEADLINE).await.unwrap();
    let error = process.wait_exit(Duration::from_millis(1)).await.unwrap_err();
    assert!(format!("{error:#}").contains("started"), "{error:#}");
}

#[test]
fn a_missing_program_is_named_in_the_error() {
    let error = Tickwell::command("/nowhere/tickwell", Path::new("/")).start().unwrap_err();
    assert!(format!("{error:#}").contains("/nowhere/tickwell"), "{error:#}");
}
