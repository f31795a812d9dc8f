//! The file that copies of schemas are kept in: lines of JSON, so that it can be looked at; the last one vouches for the rest.
//!
//! ```text
//! {"carelink":"backup","format":1,"version":"0.1.0","made_at":"2026-11-24T11:00:00Z"}
//! {"schema":"token","migrations":["0000_platform",..],"taken_us":1795518000000000}
//! {"table":"session","columns":["id","subject",..]}
//! [["<base64 of bytes>"],17,"text",null,..]
//! {"end":"token","rows":1,"sha256":"<of every byte before this line>"}
//! {"end":"backup","rows":1,"sha256":".."}
//! ```
//!
//! A file without its last line was cut off; one whose digest differs was damaged. A digest is no signature: who could change the file
//! could change the digest as well.

use std::io::{self, BufRead, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine, engine::general_purpose::STANDARD};
use carelink_platform::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::Table;
use crate::Value;

/// The format written here, the only one read.
const FORMAT: u32 = 1;
/// What the last line ends.
const WHOLE: &str = "backup";
/// No row is longer.
const LONGEST_LINE: u64 = 256 << 20;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It cannot be read or written.
    #[error("{0}")]
    File(#[from] io::Error),
    /// It is something else.
    #[error("it is no backup of CareLink")]
    Foreign,
    /// It was written by a later version.
    #[error("it was written by CareLink {version} in format {format}, which this version does not know; use that version")]
    Newer {
        /// Who wrote it.
        version: String,
        /// The format.
        format: u32,
    },
    /// It ends too early.
    #[error("it ends before its last line: the backup was interrupted, or the file was cut off")]
    CutOff,
    /// It is not as it was written.
    #[error("it is damaged (found at line {line})")]
    Damaged {
        /// Where that showed.
        line: u64,
    },
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    carelink: String,
    format: u32,
    /// Who wrote it.
    pub version: String,
    /// When it was begun.
    pub made_at: String,
}

impl Header {
    /// Of a file that is begun now.
    pub fn new(version: &str, now: Timestamp) -> Self {
        Self { carelink: WHOLE.to_owned(), format: FORMAT, version: version.to_owned(), made_at: now.to_string() }
    }
}

/// What precedes the tables of a schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaHead {
    /// `auth`, `token`, `audit`.
    pub schema: String,
    /// The migrations that made it, by name.
    pub migrations: Vec<String>,
    /// When the picture was taken, in microseconds since the Unix epoch.
    pub taken_us: i64,
}

#[derive(Serialize, Deserialize)]
struct TableHead {
    table: String,
    columns: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct End {
    end: String,
    rows: u64,
    sha256: String,
}

/// A file being written.
pub struct Writer<W> {
    out: W,
    digest: Context,
    rows: u64,
    total: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn begin(out: W, header: &Header) -> Result<Self, FormatError> {
        let mut writer = Self { out, digest: Context::new(&SHA256), rows: 0, total: 0 };
        writer.line(header)?;
        Ok(writer)
    }

    /// Begins a schema.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn schema(&mut self, head: &SchemaHead) -> Result<(), FormatError> {
        self.rows = 0;
        self.line(head)
    }

    /// Begins a table.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn table(&mut self, table: &Table) -> Result<(), FormatError> {
        self.line(&TableHead { table: table.name.clone(), columns: table.columns.clone() })
    }

    /// Adds a row to the table.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn row(&mut self, values: &[Value]) -> Result<(), FormatError> {
        self.rows += 1;
        self.line(&values.iter().map(cell).collect::<Vec<_>>())
    }

    /// Ends a schema.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn end(&mut self, schema: &str) -> Result<(), FormatError> {
        self.total += self.rows;
        self.vouch(schema, self.rows)
    }

    /// Ends the file and gives back what was written to; how many rows it has.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn finish(mut self) -> Result<(W, u64), FormatError> {
        self.vouch(WHOLE, self.total)?;
        self.out.flush()?;
        Ok((self.out, self.total))
    }

    fn vouch(&mut self, end: &str, rows: u64) -> Result<(), FormatError> {
        let sha256 = hex::encode(self.digest.clone().finish());
        self.line(&End { end: end.to_owned(), rows, sha256 })
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), FormatError> {
        let mut line = serde_json::to_vec(value).map_err(io::Error::from)?;
        line.push(b'\n');
        self.digest.update(&line);
        self.out.write_all(&line)?;
        Ok(())
    }
}

/// What a file holds, in its order.
#[derive(Debug, PartialEq)]
pub enum Item {
    /// A schema begins.
    Schema(SchemaHead),
    /// A table begins.
    Table(Table),
    /// A row of the table.
    Row(Vec<Value>),
    /// The schema ends, whole up to here.
    End(String),
}

/// A file being read.
pub struct Reader<R> {
    from: R,
    digest: Context,
    line: u64,
    rows: u64,
    total: u64,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// Begins to read a file.
    ///
    /// # Errors
    /// Where it is no backup, or one of a later version.
    pub fn begin(from: R) -> Result<(Self, Header), FormatError> {
        let mut reader = Self { from, digest: Context::new(&SHA256), line: 0, rows: 0, total: 0, ended: false };
        let first = reader.read_line(64 << 10)?.ok_or(FormatError::Foreign)?;
        let header: Header = serde_json::from_slice(&first).map_err(|_| FormatError::Foreign)?;
        if header.carelink != WHOLE {
            return Err(FormatError::Foreign);
        }
        if header.format != FORMAT {
            return Err(FormatError::Newer { version: header.version, format: header.format });
        }
        reader.digest.update(&first);
        Ok((reader, header))
    }

    /// The next item; none after the last line, and only where that vouches for all before it.
    ///
    /// # Errors
    /// Where the file was cut off or damaged.
    pub fn next_item(&mut self) -> Result<Option<Item>, FormatError> {
        if self.ended {
            return Ok(None);
        }
        let line = self.read_line(LONGEST_LINE)?.ok_or(FormatError::CutOff)?;
        let damaged = FormatError::Damaged { line: self.line };
        let item = match line.first() {
            Some(b'[') => serde_json::from_slice::<Vec<serde_json::Value>>(&line)
                .ok()
                .and_then(|cells| cells.iter().map(value).collect::<Option<Vec<_>>>())
                .map(Item::Row),
            _ => {
                if let Ok(end) = serde_json::from_slice::<End>(&line) {
                    return self.end(end, &line).map_err(|()| damaged);
                }
                let table = |head: TableHead| Item::Table(Table { name: head.table, columns: head.columns });
                let schema = serde_json::from_slice::<SchemaHead>(&line).ok().map(Item::Schema);
                schema.or_else(|| serde_json::from_slice::<TableHead>(&line).ok().map(table))
            }
        };
        let item = item.ok_or(damaged)?;
        match &item {
            Item::Row(_) => self.rows += 1,
            Item::Schema(_) => self.rows = 0,
            _ => {}
        }
        self.digest.update(&line);
        Ok(Some(item))
    }

    /// How many rows were read.
    pub fn rows(&self) -> u64 {
        self.total + self.rows
    }

    fn end(&mut self, end: End, line: &[u8]) -> Result<Option<Item>, ()> {
        let whole = end.end == WHOLE;
        let rows = if whole { self.total } else { self.rows };
        if end.rows != rows || end.sha256 != hex::encode(self.digest.clone().finish()) {
            return Err(());
        }
        self.digest.update(line);
        if whole {
            self.ended = true;
            // Nothing may follow.
            let mut more = [0];
            return if matches!(self.from.read(&mut more), Ok(0)) { Ok(None) } else { Err(()) };
        }
        self.total += std::mem::take(&mut self.rows);
        Ok(Some(Item::End(end.end)))
    }

    /// A line with its end; none where the file ends, also in the middle of one.
    fn read_line(&mut self, longest: u64) -> Result<Option<Vec<u8>>, FormatError> {
        let mut line = Vec::new();
        self.line += 1;
        (&mut self.from).take(longest).read_until(b'\n', &mut line)?;
        Ok((line.last() == Some(&b'\n')).then_some(line))
    }
}

fn cell(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Int(int) => (*int).into(),
        Value::Bool(yes) => i64::from(*yes).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Bytes(bytes) => serde_json::json!([STANDARD.encode(bytes)]),
        Value::Uuid(id) => serde_json::json!([STANDARD.encode(id.as_bytes())]),
        Value::Time(at) => at.as_micros().into(),
    }
}

fn value(cell: &serde_json::Value) -> Option<Value> {
    match cell {
        serde_json::Value::Null => Some(Value::Null),
        serde_json::Value::Number(number) => number.as_i64().map(Value::Int),
        serde_json::Value::String(text) => Some(Value::Text(text.clone())),
        serde_json::Value::Array(one) => match one.as_slice() {
            [serde_json::Value::String(text)] => STANDARD.decode(text).ok().map(Value::Bytes),
            _ => None,
        },
        _ => None,
    }
}
