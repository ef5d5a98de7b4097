//! A key for each role.

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
# The public key of each role, for nats.conf to include. They are no secrets; the seeds that belong to them lie in
# *.nk, and no server needs those.
";

/// Writes the keys. What is there already stays.
pub(super) fn make(folder: &Path) -> Result<()> {
    let (public, seeds) = (folder.join("keys.conf"), ROLES.map(|role| folder.join(format!("{role}.nk"))));
    if let Some(there) = seeds.iter().chain([&public]).find(|path| path.exists()) {
        bail!(
            "{} is there already, and a key that is lost locks its role out: name another folder",
            there.display()
        );
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut keys = PUBLIC_HEAD.to_owned();
    for (role, path) in ROLES.iter().zip(&seeds) {
        let key = UserKey::generate();
        write(path, 0o600, &format!("{}\n", key.seed()?))?;
        keys.push_str(&format!("{}: {}\n", role.to_ascii_uppercase(), key.public()));
    }
    write(&public, 0o644, &keys)?;
    let told: Vec<String> = seeds.iter().map(PathBuf::as_path).chain([public.as_path()]).map(line).collect();
    show::print(&told.concat())
}

fn line(path: &Path) -> String {
    let what = if path.extension().is_some_and(|it| it == "nk") {
        "a secret: this role's bus.credentials_file"
    } else {
        "public keys: beside the server's nats.conf"
    };
    format!("{}  {what}\n", path.display())
}

fn write(path: &Path, mode: u32, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    if written.is_err() {
        // Half a key is none, and would keep the next one from being made.
        let _removed = fs::remove_file(path);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}
