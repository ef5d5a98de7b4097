//! `tickwell log keys`: creates a key for each role.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use common::bus::nats::UserKey;

use crate::show;

/// The roles of `nats/nats.conf`.
const ROLES: [&str; 5] = ["poller", "api", "feed", "admin", "maintenance"];

const PUBLIC_HEAD: &str = "\
# The public key of each role, included by nats.conf. Public keys are not secret. The matching seeds are in the *.nk
# files, which the server does not need.
";

/// Creates the keys. Never overwrites an existing file.
pub(super) fn make(folder: &Path) -> Result<()> {
    let (public, seeds) = (folder.join("keys.conf"), ROLES.map(|role| folder.join(format!("{role}.nk"))));
    if let Some(there) = seeds.iter().chain([&public]).find(|path| path.exists()) {
        bail!(
            "{} exists already and is not overwritten, because programs may still use it; use another directory",
            there.display()
        );
    }
    let created = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    created.with_context(|| format!("cannot create the directory {}", folder.display()))?;
    let mut keys = PUBLIC_HEAD.to_owned();
    for (role, path) in ROLES.iter().zip(&seeds) {
        let key = UserKey::generate();
        write(path, 0o600, &format!("{}\n", key.seed()?))?;
        keys.push_str(&format!("{}: {}\n", role.to_ascii_uppercase(), key.public()));
    }
    write(&public, 0o644, &keys)?;
    let lines: Vec<String> = seeds.iter().map(PathBuf::as_path).chain([public.as_path()]).map(line).collect();
    show::print(&lines.concat())
}

fn line(path: &Path) -> String {
    let what = if path.extension().is_some_and(|it| it == "nk") {
        "secret: use this file as bus.credentials_file of the role"
    } else {
        "public keys: copy this file to the directory of the server's nats.conf"
    };
    format!("{}  {what}\n", path.display())
}

fn write(path: &Path, mode: u32, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    if written.is_err() {
        // An incomplete key is useless, and would prevent the next run from creating one.
        let _removed = fs::remove_file(path);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}
