//! A backup's file as restoring reads it: first as a whole, to see whether it is what was written, then again for its rows.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use carelink_database::copy::format::{FormatError, Header, Item, Reader, SchemaHead};
use indicatif::ProgressBar;

use crate::error::failed;

/// Bytes read at a time.
const BUFFER: usize = 1 << 20;

/// A file that was read to its end, and is whole.
#[derive(Debug)]
pub(crate) struct Backup {
    path: PathBuf,
    /// Who wrote it, and when.
    pub(crate) header: Header,
    /// Its schemas, in their order.
    pub(crate) schemas: Vec<SchemaHead>,
    /// How many rows it has.
    pub(crate) rows: u64,
}

/// What is wrong with a file, named.
pub(crate) fn unusable(path: &Path, error: &FormatError) -> anyhow::Error {
    let code = match error {
        FormatError::File(_) => "backup_file",
        FormatError::Foreign => "no_backup",
        FormatError::Newer { .. } => "backup_newer",
        FormatError::CutOff | FormatError::Damaged { .. } => "backup_damaged",
    };
    failed(code, format!("{}: {error}", path.display()))
}

impl Backup {
    /// Reads all of a file.
    pub(crate) fn check(path: &Path, bar: &ProgressBar) -> anyhow::Result<Self> {
        let named = |error: FormatError| unusable(path, &error);
        let file = File::open(path).map_err(|error| named(error.into()))?;
        bar.reset();
        bar.set_message("check");
        bar.set_length(file.metadata().map_err(|error| named(error.into()))?.len());
        let (mut reader, header) = Reader::begin(BufReader::with_capacity(BUFFER, Counted { file, bar })).map_err(named)?;
        let mut schemas = Vec::new();
        while let Some(item) = reader.next_item().map_err(named)? {
            if let Item::Schema(head) = item {
                schemas.push(head);
            }
        }
        Ok(Self { path: path.to_owned(), header, schemas, rows: reader.rows() })
    }

    /// Reads it once more, for its rows.
    pub(crate) fn items(&self) -> anyhow::Result<Items> {
        let named = |error: FormatError| unusable(&self.path, &error);
        let file = File::open(&self.path).map_err(|error| named(error.into()))?;
        let (reader, _) = Reader::begin(BufReader::with_capacity(BUFFER, file)).map_err(named)?;
        Ok(Items { path: self.path.clone(), reader })
    }

    /// What it says of a schema.
    pub(crate) fn schema(&self, name: &str) -> anyhow::Result<&SchemaHead> {
        let found = self.schemas.iter().find(|head| head.schema == name);
        found.ok_or_else(|| failed("backup_damaged", format!("{} has no schema {name}", self.path.display())))
    }
}

/// The items of a file.
pub(crate) struct Items {
    path: PathBuf,
    reader: Reader<BufReader<File>>,
}

impl Items {
    /// The next one; none after the last.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<Item>> {
        self.reader.next_item().map_err(|error| unusable(&self.path, &error))
    }
}

/// A file that shows how far it was read.
struct Counted<'a> {
    file: File,
    bar: &'a ProgressBar,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(into)?;
        self.bar.inc(u64::try_from(read).unwrap_or(0));
        Ok(read)
    }
}
