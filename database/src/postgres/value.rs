//! Values as PostgreSQL's binary protocol has them. Each is bound with its own type; NULL as *unknown*, which the server infers.

use carelink_platform::clock::Timestamp;
use sqlx::{
    Column as _, Encode, Postgres, Row as _, Type, TypeInfo as _, ValueRef as _,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgRow, PgTypeInfo, types::Oid},
};
use uuid::Uuid;

use crate::{StoreError, Value};

const BOOL: u32 = 16;
const BYTEA: u32 = 17;
const NAME: u32 = 19;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const UNKNOWN: u32 = 705;
const VARCHAR: u32 = 1043;
const TIMESTAMPTZ: u32 = 1184;
const UUID: u32 = 2950;

/// PostgreSQL counts from the year 2000.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// An argument: a value, or the same column of many rows as an array.
#[derive(Debug)]
pub(crate) enum Bound<'a> {
    One(&'a Value),
    Column(&'a [Vec<Value>], usize),
}

impl<'a> Bound<'a> {
    fn column(rows: &'a [Vec<Value>], at: usize) -> impl Iterator<Item = &'a Value> {
        rows.iter().map(move |row| row.get(at).unwrap_or(&Value::Null))
    }
}

impl Type<Postgres> for Bound<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(UNKNOWN))
    }
}

impl Encode<'_, Postgres> for Bound<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        match *self {
            Self::One(value) => Ok(put(value, buffer)),
            Self::Column(rows, at) => put_array(rows, at, buffer),
        }
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        let oid = match *self {
            Self::One(value) => oid(value),
            Self::Column(rows, at) => array(element(rows, at)),
        };
        Some(PgTypeInfo::with_oid(Oid(oid)))
    }
}

fn oid(value: &Value) -> u32 {
    match value {
        Value::Null => UNKNOWN,
        Value::Int(_) => INT8,
        Value::Bool(_) => BOOL,
        Value::Text(_) => TEXT,
        Value::Bytes(_) => BYTEA,
        Value::Uuid(_) => UUID,
        Value::Time(_) => TIMESTAMPTZ,
    }
}

/// The type of an array's elements; unknown where all are NULL.
fn element(rows: &[Vec<Value>], at: usize) -> u32 {
    Bound::column(rows, at).map(oid).find(|&oid| oid != UNKNOWN).unwrap_or(UNKNOWN)
}

fn array(element: u32) -> u32 {
    match element {
        INT8 => 1016,
        BOOL => 1000,
        TEXT => 1009,
        BYTEA => 1001,
        UUID => 2951,
        TIMESTAMPTZ => 1185,
        _ => UNKNOWN,
    }
}

fn put(value: &Value, buffer: &mut Vec<u8>) -> IsNull {
    match value {
        Value::Null => return IsNull::Yes,
        Value::Int(value) => buffer.extend(value.to_be_bytes()),
        Value::Bool(value) => buffer.push(u8::from(*value)),
        Value::Text(value) => buffer.extend(value.as_bytes()),
        Value::Bytes(value) => buffer.extend(value),
        Value::Uuid(value) => buffer.extend(value.as_bytes()),
        Value::Time(value) => buffer.extend(value.as_micros().saturating_sub(EPOCH_MICROS).to_be_bytes()),
    }
    IsNull::No
}

/// One dimension, elements counted from 1. All NULL is NULL: nobody could say of what.
fn put_array(rows: &[Vec<Value>], at: usize, buffer: &mut Vec<u8>) -> Result<IsNull, BoxDynError> {
    let element = element(rows, at);
    if element == UNKNOWN {
        return Ok(IsNull::Yes);
    }
    for header in [1, 1, element, u32::try_from(rows.len())?, 1] {
        buffer.extend(header.to_be_bytes());
    }
    for value in Bound::column(rows, at) {
        let start = buffer.len();
        buffer.extend((-1_i32).to_be_bytes());
        if matches!(put(value, buffer), IsNull::No) {
            let length = i32::try_from(buffer.len() - start - 4)?.to_be_bytes();
            if let Some(place) = buffer.get_mut(start..start + 4) {
                place.copy_from_slice(&length);
            }
        }
    }
    Ok(IsNull::No)
}

/// A column of a row.
pub(crate) fn read(row: &PgRow, at: usize) -> Result<Value, StoreError> {
    let decode = |message: String| StoreError::Decode { column: row.column(at).name().to_owned(), message };
    let value = row.try_get_raw(at).map_err(|error| decode(error.to_string()))?;
    if value.is_null() {
        return Ok(Value::Null);
    }
    let kind = value.type_info().into_owned();
    let bytes = value.as_bytes().map_err(|error| decode(error.to_string()))?;
    let short = || decode("is shorter than its type".to_owned());
    let text = || String::from_utf8(bytes.to_vec()).map_err(|_| decode("is not UTF-8".to_owned()));
    let int = || bytes.try_into().map(i64::from_be_bytes).map_err(|_| short());
    Ok(match kind.oid().map_or(0, |oid| oid.0) {
        INT8 => Value::Int(int()?),
        INT4 => Value::Int(bytes.try_into().map(i32::from_be_bytes).map_err(|_| short())?.into()),
        INT2 => Value::Int(bytes.try_into().map(i16::from_be_bytes).map_err(|_| short())?.into()),
        BOOL => Value::Bool(bytes.first().copied().ok_or_else(short)? != 0),
        TEXT | VARCHAR | NAME | UNKNOWN => Value::Text(text()?),
        BYTEA => Value::Bytes(bytes.to_vec()),
        UUID => Value::Uuid(Uuid::from_slice(bytes).map_err(|_| short())?),
        TIMESTAMPTZ => Value::Time(Timestamp::from_micros(int()?.saturating_add(EPOCH_MICROS))),
        _ => return Err(decode(format!("is of type {}, which no value of ours has; cast it", kind.name()))),
    })
}
