//! What goes into a statement and comes out of it, the same on both engines.

use std::sync::Arc;

use carelink_platform::clock::Timestamp;
use uuid::Uuid;

use crate::StoreError;

/// One argument or column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL's NULL.
    Null,
    /// An integer of 64 bits.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An id.
    Uuid(Uuid),
    /// A point in time.
    Time(Timestamp),
}

macro_rules! into_value {
    ($($from:ty => $with:expr;)*) => {
        $(impl From<$from> for Value { fn from(value: $from) -> Self { let with: fn($from) -> Value = $with; with(value) } })*
    };
}

into_value! {
    i64 => Value::Int;
    i32 => |v| Value::Int(v.into());
    u32 => |v| Value::Int(v.into());
    u64 => |v| Value::Int(i64::try_from(v).unwrap_or(i64::MAX));
    usize => |v| Value::Int(i64::try_from(v).unwrap_or(i64::MAX));
    bool => Value::Bool;
    String => Value::Text;
    &str => |v| Value::Text(v.to_owned());
    &String => |v| Value::Text(v.clone());
    Vec<u8> => Value::Bytes;
    &[u8] => |v| Value::Bytes(v.to_vec());
    Uuid => Value::Uuid;
    Timestamp => Value::Time;
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(value: [u8; N]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The arguments of a statement: `args![id, name]` for `$1`, `$2`.
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::Value::from($value)),*] };
}

/// One row of a result.
#[derive(Clone, Debug)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    pub(crate) fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// A column by its name.
    ///
    /// # Errors
    /// Where there is no such column or it holds something else.
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T, StoreError> {
        let at = self.columns.iter().position(|name| name == column);
        let value = at.and_then(|at| self.values.get(at));
        let decode = |message: &str| StoreError::Decode { column: column.to_owned(), message: message.to_owned() };
        T::from_value(value.ok_or_else(|| decode("not in the result"))?).ok_or_else(|| decode("holds something else"))
    }
}

/// A type that a column can be read as.
pub trait FromValue: Sized {
    /// None where the value does not fit.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($to:ty { $($pattern:pat => $with:expr),* $(,)? })*) => {
        $(impl FromValue for $to { fn from_value(value: &Value) -> Option<Self> { match value { $($pattern => $with,)* _ => None } } })*
    };
}

from_value! {
    i64 { Value::Int(v) => Some(*v) }
    u64 { Value::Int(v) => u64::try_from(*v).ok() }
    u32 { Value::Int(v) => u32::try_from(*v).ok() }
    bool { Value::Bool(v) => Some(*v), Value::Int(v) => Some(*v != 0) }
    String { Value::Text(v) => Some(v.clone()) }
    Vec<u8> { Value::Bytes(v) => Some(v.clone()) }
    Uuid { Value::Uuid(v) => Some(*v), Value::Bytes(v) => Uuid::from_slice(v).ok() }
    Timestamp { Value::Time(v) => Some(*v), Value::Int(v) => Some(Timestamp::from_micros(*v)) }
}

impl<const N: usize> FromValue for [u8; N] {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => bytes.as_slice().try_into().ok(),
            _ => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}
