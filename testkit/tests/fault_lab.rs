//! What the fault lab says to whoever uses it wrongly.

use std::process::Command;

#[test]
fn a_binary_that_is_not_there_is_named_and_nothing_of_the_lab_is_shown() {
    let lab = Command::new(env!("CARGO_BIN_EXE_fault-lab"))
        .args(["--binary", "/nowhere/tickwell", "kraken=stuck"])
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8(lab.stderr).unwrap();
    assert_eq!(lab.status.code(), Some(1));
    assert!(said.starts_with("fault-lab: the binary /nowhere/tickwell: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
