//! Reads a server's ports file, which contains the ports that it has chosen.

use std::path::Path;

use serde_json::Value;

/// The ports on which a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    /// The port for clients.
    pub(super) clients: u16,
    /// The port for `/healthz`, `/jsz` and the like.
    pub(super) monitoring: u16,
}

/// The ports of the process with this id, once it has written its ports file.
pub(super) fn read_ports(folder: &Path, process_id: u32) -> Option<Ports> {
    let suffix = format!("_{process_id}.ports");
    let mut files = folder.read_dir().ok()?.filter_map(Result::ok);
    let file = files.find(|file| file.file_name().to_string_lossy().ends_with(&suffix))?;
    // A partially written file does not parse. The next attempt will succeed.
    let ports: Value = serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()?;
    let port = |kind: &str| ports.get(kind)?.get(0)?.as_str()?.rsplit_once(':')?.1.parse().ok();
    Some(Ports { clients: port("nats")?, monitoring: port("monitoring")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_once_the_file_is_complete_and_from_this_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nats-server_7.ports");
        let whole = r#"{"nats":["nats://127.0.0.1:4222"],"monitoring":["http://127.0.0.1:8222"]}"#;
        std::fs::write(&path, &whole[..40]).unwrap();
        assert_eq!(read_ports(folder.path(), 7), None);
        std::fs::write(&path, whole).unwrap();
        assert_eq!(read_ports(folder.path(), 8), None);
        assert_eq!(read_ports(folder.path(), 7), Some(Ports { clients: 4222, monitoring: 8222 }));
    }
}
