//! The simulated cluster: `kubectl.py` in place of kubectl, and the objects in the cluster.

use std::{os::unix::fs::PermissionsExt, process::Output, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    harness::DEADLINE,
    tools::{python_beside_kubectl, workspace},
};

/// The environment variable that sets how many seconds the scripts wait for a pod that does not start.
const PATIENCE_VARIABLE: &str = "TICKWELL_PATIENCE_SECONDS";

pub(super) struct Cluster {
    folder: TempDir,
    path: String,
}

/// The result of a script.
pub(super) struct Outcome {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
    /// The arguments of the script's calls of kubectl, in order.
    pub(super) calls: Vec<String>,
    pub(super) took: Duration,
}

impl Cluster {
    /// A cluster with the objects that `scene` describes; see `kubectl.py`. `None` without kubectl and Python.
    pub(super) fn new(scene: &Value) -> Option<Self> {
        let python = python_beside_kubectl()?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("scene.json"), scene.to_string()).unwrap();
        let stand_in = folder.path().join("kubectl");
        let script = workspace().join("cli/tests/process/recipes/kubectl.py");
        let real = python.with_file_name("kubectl");
        let text = format!(
            "#!/bin/sh\nREAL_KUBECTL={} SCENE={} exec {} -B {} \"$@\"\n",
            real.display(),
            folder.path().display(),
            python.display(),
            script.display()
        );
        std::fs::write(&stand_in, text).unwrap();
        std::fs::set_permissions(&stand_in, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        Some(Self { folder, path })
    }

    /// Runs one of the scripts to its end.
    pub(super) async fn run(
        &self,
        script: &str,
        arguments: &[&str],
        patience_seconds: Option<u64>,
    ) -> Outcome {
        let began = Instant::now();
        let mut command = tokio::process::Command::new(workspace().join("scripts").join(script));
        command.args(arguments).env("PATH", &self.path).env("HOME", self.folder.path());
        if let Some(seconds) = patience_seconds {
            command.env(PATIENCE_VARIABLE, seconds.to_string());
        }
        let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
        let Output { status, stdout, stderr } = output;
        let calls = std::fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let calls = calls.lines().map(str::to_owned).collect();
        Outcome { code: status.code(), out, err, calls, took: began.elapsed() }
    }

    pub(super) async fn apply(&self, patience_seconds: Option<u64>) -> Outcome {
        let overlay = workspace().join("k8s/overlays/dev");
        self.run("k8s-apply", &[overlay.to_str().unwrap()], patience_seconds).await
    }
}

impl Outcome {
    pub(super) fn text(&self) -> String {
        format!("code {:?}\n{}\n{}\n{:#?}", self.code, self.out, self.err, self.calls)
    }

    /// Whether the pollers and the pods were applied.
    pub(super) fn applied_all(&self) -> bool {
        self.calls.iter().any(|call| call == "apply --filename -")
    }
}

/// A pod whose container is waiting for this reason.
pub(super) fn waiting(name: &str, reason: &str, message: &str) -> Value {
    json!([{
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": { "name": name, "namespace": "tickwell" },
        "status": {
            "phase": "Pending",
            "conditions": [{ "type": "PodScheduled", "status": "True" }],
            "containerStatuses": [
                { "name": "it", "ready": false, "state": { "waiting": { "reason": reason, "message": message } } }
            ],
        },
    }])
}

/// A pod that cannot be scheduled on any node.
pub(super) fn unschedulable(name: &str, message: &str) -> Value {
    let condition =
        json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message });
    json!([{
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": { "name": name, "namespace": "tickwell" },
        "status": { "phase": "Pending", "conditions": [condition] },
    }])
}

/// A smoke test that ended with this exit code.
pub(super) fn ended(code: i32) -> Value {
    json!([{
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": { "name": "tickwell-smoke", "namespace": "tickwell" },
        "status": {
            "phase": if code == 0 { "Succeeded" } else { "Failed" },
            "containerStatuses": [{ "name": "curl", "state": { "terminated": { "exitCode": code } } }],
        },
    }])
}

/// A Job with this condition, or without any.
pub(super) fn job(condition: Option<&str>) -> Value {
    let conditions: Vec<Value> =
        condition.into_iter().map(|kind| json!({ "type": kind, "status": "True" })).collect();
    json!({
        "kind": "Job",
        "apiVersion": "batch/v1",
        "metadata": { "name": "tickwell-log", "namespace": "tickwell" },
        "status": { "conditions": conditions },
    })
}
