//! Whole schemas of PostgreSQL. Reads in one read-only transaction, whatever its role's time-outs; fills with COPY in one transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use carelink_platform::{clock::Timestamp, location::Postgres};
use futures::TryStreamExt as _;
use sqlx::{Arguments as _, AssertSqlSafe, Column as _, Connection as _, Executor as _, PgConnection, Row as _, postgres::PgArguments};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{AHEAD, About, CHUNK, Chunk, LEFT_OUT, Scope, Table, ordered, quoted};
use crate::{
    Migration, Row, Statement, StoreError, Value,
    migrate::fits,
    postgres::{Bound, applied, connect, meaning, migrating, other_owner, read},
};

type Chunks = mpsc::Receiver<Result<Chunk, StoreError>>;

/// A picture takes as long as it takes. Locks are the usual ones of reading, which hold up nobody but who changes the schema.
const PICTURE: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";
const FILLING: &str = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";
/// How long a process that ends may be seen.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a lease outlives a process that was killed.
const LEASES_END: Duration = Duration::from_secs(8);

fn sql(error: &sqlx::Error) -> StoreError {
    meaning(error).0
}

async fn control(connection: &mut PgConnection, text: String) -> Result<(), StoreError> {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(text))).await.map(|_| ()).map_err(|error| sql(&error))
}

async fn rows(connection: &mut PgConnection, text: String) -> Result<Vec<Vec<Value>>, StoreError> {
    let found = sqlx::query(AssertSqlSafe(text)).persistent(false).fetch_all(connection).await.map_err(|error| sql(&error))?;
    found.iter().map(|row| (0..row.len()).map(|at| read(row, at)).collect()).collect()
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::Text(text)) => text.clone(),
        _ => String::new(),
    }
}

/// The migrations that made a schema; none where there is none.
pub(super) async fn migrations(at: &Postgres, schema: &'static str) -> Result<Vec<String>, StoreError> {
    let mut connection = connect(&migrating(at, schema)?).await?;
    let names = applied(&mut connection).await?.into_keys().collect();
    let _ = connection.close().await; // nothing was changed
    Ok(names)
}

/// Takes a picture of a schema.
pub(super) async fn picture(at: &Postgres, scope: Scope) -> Result<(About, Chunks), StoreError> {
    let mut connection = connect(&migrating(at, scope.schema)?).await?;
    control(&mut connection, PICTURE.to_owned()).await?;
    // The first look is the picture's moment: what comes later is not in it.
    let now = rows(&mut connection, "SELECT clock_timestamp()".to_owned()).await?.concat();
    let taken = now.first().map_or(Timestamp::ZERO, |now| if let Value::Time(at) = now { *at } else { Timestamp::ZERO });
    let tables: Vec<Table> = tables(&mut connection, scope).await?.into_iter().map(|(table, _)| table).collect();
    let migrations = applied(&mut connection).await?.into_keys().collect();
    let mut count = 0;
    for table in &tables {
        if let Some(Value::Int(rows)) =
            rows(&mut connection, format!("SELECT count(*) FROM {}", quoted(&table.name))).await?.concat().first()
        {
            count += rows.unsigned_abs();
        }
    }
    let about = About { tables: tables.clone(), migrations, taken, rows: count };
    let (send, chunks) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        for (at, table) in tables.iter().enumerate() {
            if let Err(error) = stream(&mut connection, at, table, &send).await {
                let _ = send.send(Err(error)).await; // nobody reads on
                return;
            }
        }
        let _ = connection.close().await; // nothing was changed
    });
    Ok((about, chunks))
}

async fn stream(
    connection: &mut PgConnection,
    at: usize,
    table: &Table,
    send: &mpsc::Sender<Result<Chunk, StoreError>>,
) -> Result<(), StoreError> {
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
    let text = format!("SELECT {} FROM {}", columns.join(", "), quoted(&table.name));
    let mut found = sqlx::query(AssertSqlSafe(text)).persistent(false).fetch(connection);
    let mut rows = Vec::with_capacity(CHUNK);
    while let Some(row) = found.try_next().await.map_err(|error| sql(&error))? {
        rows.push((0..columns.len()).map(|at| read(&row, at)).collect::<Result<Vec<_>, _>>()?);
        if rows.len() == CHUNK {
            let chunk = Chunk { table: at, rows: std::mem::replace(&mut rows, Vec::with_capacity(CHUNK)) };
            if send.send(Ok(chunk)).await.is_err() {
                return Err(StoreError::Unavailable("nobody reads on".to_owned()));
            }
        }
    }
    if !rows.is_empty() {
        let _ = send.send(Ok(Chunk { table: at, rows })).await; // nobody reads on
    }
    Ok(())
}

/// Tables with the types of their columns, in the order in which they can be filled.
async fn tables(connection: &mut PgConnection, scope: Scope) -> Result<Vec<(Table, Vec<i64>)>, StoreError> {
    let here = "relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition";
    let names = rows(connection, format!("SELECT relname::text FROM pg_class WHERE {here} ORDER BY relname")).await?;
    let keys = "SELECT a.relname::text, b.relname::text FROM pg_constraint
        JOIN pg_class a ON a.oid = conrelid JOIN pg_class b ON b.oid = confrelid
        WHERE contype = 'f' AND connamespace = current_schema()::regnamespace";
    let keys = rows(connection, keys.to_owned()).await?;
    let columns = format!(
        "SELECT relname::text, attname::text, atttypid::bigint FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
         WHERE {here} AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attrelid, attnum"
    );
    let columns = rows(connection, columns).await?;
    let mut refers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in names.iter().map(|row| text(row.first())).filter(|name| scope.has(name)) {
        let of = |row: &&Vec<Value>| text(row.first()) == name;
        refers.insert(name.clone(), keys.iter().filter(of).map(|row| text(row.get(1))).collect());
    }
    let table = |name: String| {
        let (mut names, mut types) = (Vec::new(), Vec::new());
        for row in columns.iter().filter(|row| text(row.first()) == name) {
            names.push(text(row.get(1)));
            types.push(if let Some(Value::Int(oid)) = row.get(2) { *oid } else { 0 });
        }
        (Table { name, columns: names }, types)
    };
    Ok(ordered(refers).into_iter().map(table).collect())
}

/// Who uses a schema, once those that are just ending have ended: connections of its role, and leases that are held.
pub(super) async fn in_use(at: &Postgres, schema: &'static str) -> Result<Vec<String>, StoreError> {
    let mut connection = connect(&migrating(at, schema)?).await?;
    if applied(&mut connection).await?.is_empty() {
        return Ok(Vec::new()); // there is nothing that could be used
    }
    let others = format!(
        "SELECT DISTINCT coalesce(nullif(application_name, ''), 'a connection of ' || usename)::text FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()
           AND (usename = 'carelink_{schema}' OR application_name = 'carelink-{schema}')"
    );
    // One that lies absurdly far ahead is nobody's (A5).
    let leases = "SELECT DISTINCT ('lease ' || name)::text FROM lease
        WHERE until > clock_timestamp() AND until < clock_timestamp() + interval '1 minute' AND name <> 'migrate'";
    let began = Instant::now();
    loop {
        let mut users = rows(&mut connection, others.clone()).await?;
        let patience = if users.is_empty() { LEASES_END } else { PATIENCE };
        users.extend(rows(&mut connection, leases.to_owned()).await?);
        if users.is_empty() || began.elapsed() > patience {
            let _ = connection.close().await; // nothing was changed
            return Ok(users.iter().map(|row| text(row.first())).collect());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// A schema that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    connection: PgConnection,
    scope: Scope,
    types: BTreeMap<String, BTreeMap<String, i64>>,
    seeded: BTreeSet<String>,
}

impl Filling {
    /// Begins the transaction.
    pub(super) async fn begin(
        at: &Postgres,
        scope: Scope,
        migrations: &'static [Migration],
        seeded: BTreeSet<String>,
    ) -> Result<(Self, Vec<Table>), StoreError> {
        let mut connection = connect(&migrating(at, scope.schema)?).await?;
        fits(scope.schema, migrations, &applied(&mut connection).await?)?;
        control(&mut connection, FILLING.to_owned()).await?;
        if let Some(owner) = other_owner(&mut connection, scope.schema).await? {
            control(&mut connection, format!("SET LOCAL ROLE {owner}")).await.map_err(|_| {
                let schema = scope.schema;
                StoreError::Engine(format!("filling the {schema} schema needs its owner, {owner}: set {schema}.migrate_url"))
            })?;
        }
        // A service that starts meanwhile looks here first, and waits.
        control(&mut connection, "LOCK TABLE migration IN ACCESS EXCLUSIVE MODE".to_owned()).await?;
        let (mut types, mut found) = (BTreeMap::new(), Vec::new());
        for (table, oids) in tables(&mut connection, scope).await? {
            types.insert(table.name.clone(), table.columns.iter().cloned().zip(oids).collect());
            found.push(table);
        }
        Ok((Self { connection, scope, types, seeded }, found))
    }

    /// Tables with rows that no migration put there; what waits in an outbox is what migrating itself had to say.
    pub(super) async fn occupied(&mut self) -> Result<Vec<String>, StoreError> {
        let everything = Scope { without: &[], ..self.scope };
        let mut occupied = Vec::new();
        for (table, _) in tables(&mut self.connection, everything).await? {
            let expected = self.seeded.contains(&table.name) || table.name == "outbox" || LEFT_OUT.contains(&table.name.as_str());
            if !expected && self.holds_rows(&table.name).await? {
                occupied.push(table.name);
            }
        }
        Ok(occupied)
    }

    async fn holds_rows(&mut self, table: &str) -> Result<bool, StoreError> {
        let found = rows(&mut self.connection, format!("SELECT EXISTS (SELECT FROM {})", quoted(table))).await?;
        Ok(found.concat() == [Value::Bool(true)])
    }

    pub(super) async fn empty(&mut self, table: &Table) -> Result<(), StoreError> {
        if self.holds_rows(&table.name).await? {
            control(&mut self.connection, format!("DELETE FROM {}", quoted(&table.name))).await?;
        }
        Ok(())
    }

    pub(super) async fn put(&mut self, table: &Table, rows: &[Vec<Value>]) -> Result<(), StoreError> {
        if self.types.get(&table.name).is_some_and(|types| types.len() > table.columns.len()) {
            self.number_on(Some(table)).await?; // what comes without its number must not get one that came already
        }
        let types = self.types.get(&table.name);
        let oids: Vec<i64> = table.columns.iter().map(|column| types.and_then(|types| types.get(column)).copied().unwrap_or(0)).collect();
        let mut bytes = binary::begin();
        for row in rows {
            binary::row(row, table, &oids, &mut bytes)?;
        }
        binary::end(&mut bytes);
        let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
        let text = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", quoted(&table.name), columns.join(", "));
        let mut copy = self.connection.copy_in_raw(&text).await.map_err(|error| sql(&error))?;
        if let Err(error) = copy.send(bytes).await {
            let _ = copy.abort("given up").await; // the first error is the one to tell
            return Err(sql(&error));
        }
        copy.finish().await.map(|_| ()).map_err(|error| sql(&error))
    }

    pub(super) async fn run(&mut self, statement: &'static Statement, args: &[Value]) -> Result<Vec<Row>, StoreError> {
        let failed = |message: String| StoreError::Engine(format!("{}: {message}", statement.name()));
        let mut result = Vec::new();
        for part in statement.postgres() {
            let mut arguments = PgArguments::default();
            for &at in &part.arguments {
                let value = args.get(at).ok_or_else(|| failed(format!("${} is not given", at + 1)))?;
                arguments.add(Bound::One(value)).map_err(|error| failed(error.to_string()))?;
            }
            let query = sqlx::query_with(part.sql.as_str(), arguments).persistent(false);
            let found = query.fetch_all(&mut self.connection).await.map_err(|error| failed(sql(&error).to_string()))?;
            let Some(first) = found.first() else {
                result = Vec::new();
                continue;
            };
            let columns: std::sync::Arc<[String]> = first.columns().iter().map(|column| column.name().to_owned()).collect();
            let row =
                |row| Ok(Row::new(std::sync::Arc::clone(&columns), (0..columns.len()).map(|at| read(row, at)).collect::<Result<_, _>>()?));
            result = found.iter().map(row).collect::<Result<_, StoreError>>()?;
        }
        Ok(result)
    }

    /// Lets what is numbered by the database go on after what was filled in, and commits.
    pub(super) async fn finish(mut self) -> Result<(), StoreError> {
        self.number_on(None).await?;
        control(&mut self.connection, "COMMIT".to_owned()).await?;
        let _ = self.connection.close().await; // all is committed
        Ok(())
    }

    /// Numbers go on after those that were filled in: of every table, or of the one whose rows come without.
    async fn number_on(&mut self, without: Option<&Table>) -> Result<(), StoreError> {
        let numbered = "SELECT relname::text, attname::text FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
            WHERE relnamespace = current_schema()::regnamespace AND attidentity <> '' AND NOT attisdropped";
        for row in rows(&mut self.connection, numbered.to_owned()).await? {
            let (table, column) = (text(row.first()), text(row.get(1)));
            if without.is_some_and(|without| without.name != table || without.columns.contains(&column)) {
                continue;
            }
            let (quoted_table, quoted_column) = (quoted(&table), quoted(&column));
            let next = format!(
                "SELECT setval(pg_get_serial_sequence('{}', '{}'), coalesce(max({quoted_column}), 0) + 1, false) FROM {quoted_table}",
                quoted_table.replace('\'', "''"),
                column.replace('\'', "''"),
            );
            control(&mut self.connection, next).await?;
        }
        Ok(())
    }
}

/// Rows in COPY's binary form, each value as its column's type has it.
mod binary {
    use super::{StoreError, Table, Value};

    const BOOL: i64 = 16;
    const BYTEA: i64 = 17;
    const INT8: i64 = 20;
    const INT2: i64 = 21;
    const INT4: i64 = 23;
    const VARCHAR: i64 = 1043;
    const TEXT: i64 = 25;
    const TIMESTAMPTZ: i64 = 1184;
    const UUID: i64 = 2950;
    /// PostgreSQL counts from the year 2000.
    const EPOCH_MICROS: i64 = 946_684_800_000_000;

    pub(super) fn begin() -> Vec<u8> {
        let mut bytes = b"PGCOPY\n\xff\r\n\0".to_vec();
        bytes.extend([0; 8]);
        bytes
    }

    pub(super) fn end(bytes: &mut Vec<u8>) {
        bytes.extend((-1_i16).to_be_bytes());
    }

    pub(super) fn row(row: &[Value], table: &Table, oids: &[i64], bytes: &mut Vec<u8>) -> Result<(), StoreError> {
        let count = i16::try_from(row.len()).ok().filter(|_| row.len() == oids.len());
        let count = count.ok_or_else(|| StoreError::Engine(format!("{}: a row of another length", table.name)))?;
        bytes.extend(count.to_be_bytes());
        for ((value, oid), column) in row.iter().zip(oids).zip(&table.columns) {
            match field(value, *oid) {
                Field::Null => bytes.extend((-1_i32).to_be_bytes()),
                Field::Bytes(field) => {
                    bytes.extend(i32::try_from(field.len()).unwrap_or(i32::MAX).to_be_bytes());
                    bytes.extend(field);
                }
                Field::Unfit => {
                    return Err(StoreError::Decode {
                        column: format!("{}.{column}", table.name),
                        message: "holds something else".to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    enum Field {
        Null,
        Bytes(Vec<u8>),
        Unfit,
    }

    fn field(value: &Value, oid: i64) -> Field {
        let int = |int: i64| Field::Bytes(int.to_be_bytes().to_vec());
        match (oid, value) {
            (_, Value::Null) => Field::Null,
            (INT8, Value::Int(value)) => int(*value),
            (INT4, Value::Int(value)) => i32::try_from(*value).map_or(Field::Unfit, |value| Field::Bytes(value.to_be_bytes().to_vec())),
            (INT2, Value::Int(value)) => i16::try_from(*value).map_or(Field::Unfit, |value| Field::Bytes(value.to_be_bytes().to_vec())),
            (BOOL, Value::Int(value)) => Field::Bytes(vec![u8::from(*value != 0)]),
            (BOOL, Value::Bool(value)) => Field::Bytes(vec![u8::from(*value)]),
            (TEXT | VARCHAR, Value::Text(value)) if !value.contains('\0') => Field::Bytes(value.clone().into_bytes()),
            (BYTEA, Value::Bytes(value)) => Field::Bytes(value.clone()),
            (UUID, Value::Bytes(value)) if value.len() == 16 => Field::Bytes(value.clone()),
            (UUID, Value::Uuid(value)) => Field::Bytes(value.as_bytes().to_vec()),
            (BYTEA, Value::Uuid(value)) => Field::Bytes(value.as_bytes().to_vec()),
            (TIMESTAMPTZ, Value::Int(value)) => int(value.saturating_sub(EPOCH_MICROS)),
            (TIMESTAMPTZ, Value::Time(value)) => int(value.as_micros().saturating_sub(EPOCH_MICROS)),
            _ => Field::Unfit,
        }
    }
}
