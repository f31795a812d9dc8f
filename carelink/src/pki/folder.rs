//! The files of a CA: `ca.pem` (every root that is trusted), `ca.key` (the one that signs), `next.key` (the one that will),
//! and per leaf `NAME.pem` and `NAME.key`. Keys are for their owner only. What is replaced is replaced whole.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use carelink_platform::{
    random::Random,
    secrets::{ExposeSecret, read_secret_file, write_private},
};

use super::{
    authority::{Authority, Made},
    der::Certificate,
};
use crate::{error::failed, output::shell_word};

/// The roots that are trusted.
pub(super) const ROOTS: &str = "ca.pem";
/// The key of the root that signs.
const SIGNING: &str = "ca.key";
/// The key of the root that will sign.
const NEXT: &str = "next.key";
/// Names that are files of the CA itself.
pub(super) const RESERVED: [&str; 2] = ["ca", "next"];

/// A folder that holds a CA, or will.
pub(super) struct Folder(PathBuf);

/// A certificate as text, and what it says.
pub(super) struct Found {
    /// As PEM.
    pub(super) pem: String,
    /// Read.
    pub(super) certificate: Certificate,
}

impl Folder {
    /// The CA at this path.
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Where a file of it is.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// ` --dir DIR`, as a word to paste.
    pub(super) fn option(&self) -> String {
        format!("--dir {}", shell_word(&self.0.to_string_lossy()))
    }

    /// Makes the folder, for its owner only, where there is none.
    pub(super) fn make(&self) -> anyhow::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(|error| unusable(&self.0, &error))
    }

    /// Whether there is a CA here.
    pub(super) fn has_authority(&self) -> bool {
        self.file(ROOTS).exists() || self.file(SIGNING).exists()
    }

    /// Whether a second root waits to sign.
    pub(super) fn has_next(&self) -> bool {
        self.file(NEXT).exists()
    }

    /// The roots that are trusted, in the order of the file.
    pub(super) fn roots(&self) -> anyhow::Result<Vec<Found>> {
        let path = self.file(ROOTS);
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => failed(
                "no_authority",
                format!("there is no CA in {}; make one with: carelink pki init {}", self.0.display(), self.option()),
            ),
            _ => unusable(&path, &error),
        })?;
        let roots = read(&text);
        if roots.is_empty() {
            return Err(failed("no_authority", format!("{} holds no certificate", path.display())));
        }
        Ok(roots)
    }

    /// The root that signs.
    pub(super) fn authority(&self) -> anyhow::Result<Authority> {
        self.key(SIGNING)
    }

    /// The root that will sign.
    pub(super) fn next(&self) -> anyhow::Result<Option<Authority>> {
        self.has_next().then(|| self.key(NEXT)).transpose()
    }

    fn key(&self, name: &str) -> anyhow::Result<Authority> {
        let path = self.file(name);
        let key = read_secret_file(&path).map_err(|error| failed("authority_key", format!("the CA's key cannot be read: {error}")))?;
        Authority::of_key(key.expose_secret()).map_err(|error| failed("authority_key", format!("{} is not a key: {error}", path.display())))
    }

    /// Keeps the first root.
    pub(super) fn keep_first(&self, root: &Made) -> anyhow::Result<()> {
        self.create(SIGNING, &root.key)?;
        self.replace_public(ROOTS, &root.certificate)
    }

    /// Keeps a second root; it is trusted from now on and signs once [`Folder::switch`] says so.
    pub(super) fn keep_next(&self, trusted: &[Found], root: &Made) -> anyhow::Result<()> {
        self.create(NEXT, &root.key)?;
        let pems = trusted.iter().map(|root| root.pem.as_str()).chain([root.certificate.as_str()]);
        self.replace_public(ROOTS, &pems.collect::<String>())
    }

    /// From now on the second root signs; the first one's key is gone.
    pub(super) fn switch(&self) -> anyhow::Result<()> {
        fs::rename(self.file(NEXT), self.file(SIGNING)).and_then(|()| self.sync()).map_err(|error| unusable(&self.file(SIGNING), &error))
    }

    /// Trusts these roots and no others.
    pub(super) fn trust(&self, roots: &[&Found]) -> anyhow::Result<()> {
        self.replace_public(ROOTS, &roots.iter().map(|root| root.pem.as_str()).collect::<String>())
    }

    /// Keeps a leaf that is new.
    pub(super) fn keep(&self, name: &str, leaf: &Made) -> anyhow::Result<()> {
        self.create(&format!("{name}.key"), &leaf.key)?;
        self.replace_public(&format!("{name}.pem"), &leaf.certificate)
    }

    /// Puts a new leaf where one was: the key first, so that whoever watches the certificate finds its key there.
    pub(super) fn renew(&self, name: &str, leaf: &Made, random: &Random) -> anyhow::Result<()> {
        let (key, beside) = (self.file(&format!("{name}.key")), self.file(&format!(".{name}.{}", hex::encode(random.bytes::<8>()))));
        write_private(&beside, &leaf.key).and_then(|()| fs::rename(&beside, &key)).map_err(|error| unusable(&key, &error))?;
        self.replace_public(&format!("{name}.pem"), &leaf.certificate)
    }

    /// One leaf.
    pub(super) fn leaf(&self, name: &str) -> anyhow::Result<Option<Found>> {
        let path = self.file(&format!("{name}.pem"));
        match fs::read_to_string(&path) {
            Ok(text) => Ok(read(&text).into_iter().next()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(&path, &error)),
        }
    }

    /// All leaves, by name.
    pub(super) fn leaves(&self) -> anyhow::Result<Vec<(String, Found)>> {
        let files = fs::read_dir(&self.0).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(|error| unusable(&self.0, &error))?;
        let mut found = Vec::new();
        for file in files {
            let file = file.file_name();
            let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".pem")).filter(|name| !RESERVED.contains(name)) else {
                continue;
            };
            if let Some(leaf) = self.leaf(name)? {
                found.push((name.to_owned(), leaf));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn create(&self, name: &str, secret: &str) -> anyhow::Result<()> {
        let path = self.file(name);
        write_private(&path, secret).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => failed("exists", format!("{} is there already, and keys are never overwritten", path.display())),
            _ => unusable(&path, &error),
        })
    }

    fn replace_public(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let (path, beside) = (self.file(name), self.file(&format!(".{name}.new")));
        let written = || {
            fs::write(&beside, text)?;
            fs::File::open(&beside)?.sync_all()?;
            fs::rename(&beside, &path)?;
            self.sync()
        };
        written().map_err(|error| unusable(&path, &error))
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.0)?.sync_all()
    }
}

fn unusable(path: &Path, error: &io::Error) -> anyhow::Error {
    failed("pki_directory", format!("{}: {error}", path.display()))
}

/// All certificates of a text.
pub(super) fn read(text: &str) -> Vec<Found> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let block = |block: &str| {
        let (body, _) = block.split_once(END)?;
        let der = STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()?;
        Some(Found { pem: format!("{BEGIN}{body}{END}\n"), certificate: Certificate::read(&der)? })
    };
    text.split(BEGIN).skip(1).filter_map(block).collect()
}
