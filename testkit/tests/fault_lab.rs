//! Tests of the fault lab's error messages.

use std::process::Command;

#[test]
fn a_missing_binary_is_named_in_a_single_line() {
    let lab = Command::new(env!("CARGO_BIN_EXE_fault-lab"))
        .args(["--binary", "/nowhere/tickwell", "kraken=stuck"])
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    let stderr = String::from_utf8(lab.stderr).unwrap();
    assert_eq!(lab.status.code(), Some(1));
    assert!(stderr.starts_with("fault-lab: the binary /nowhere/tickwell: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}
