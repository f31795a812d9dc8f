//! SQL as files. One text serves both engines; where one of them must differ, its text lies beside.

use std::sync::{Arc, OnceLock};

use carelink_platform::telemetry;

/// A statement, or several to be run in order over the same arguments; the rows of the last are the result.
///
/// Arguments are `$1`, `$2`, ..; `clock_timestamp()` is the database's clock on both engines (on SQLite it
/// stands still within a use case), `later(time, microseconds)` adds to it.
pub struct Statement {
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
    sqlite_parts: OnceLock<Vec<Part>>,
    postgres_parts: OnceLock<Vec<Part>>,
    runs: OnceLock<metrics::Counter>,
    trips: OnceLock<metrics::Counter>,
}

impl std::fmt::Debug for Statement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Statement({})", self.name)
    }
}

/// One statement of a text.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) sql: String,
    /// PostgreSQL: which argument each `$n` of this part is, counted from 0. It refuses one that is given and not used.
    pub(crate) arguments: Vec<usize>,
    /// Filled in by the first run.
    pub(crate) columns: OnceLock<Arc<[String]>>,
}

impl Statement {
    /// The same text for both engines.
    pub const fn shared(name: &'static str, text: &'static str) -> Self {
        Self::per_engine(name, text, text)
    }

    /// Where PostgreSQL needs another text: `x.sql` and `x.postgres.sql`.
    pub const fn per_engine(name: &'static str, sqlite: &'static str, postgres: &'static str) -> Self {
        Self {
            name,
            sqlite,
            postgres,
            sqlite_parts: OnceLock::new(),
            postgres_parts: OnceLock::new(),
            runs: OnceLock::new(),
            trips: OnceLock::new(),
        }
    }

    /// As spans and metrics call it.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Counts a run.
    pub(crate) fn count(&self) {
        let counter = || {
            telemetry::metrics_handle();
            metrics::counter!("carelink_database_statements_total", "statement" => self.name)
        };
        self.runs.get_or_init(counter).increment(1);
    }

    /// Counts the round trips of the statement where it is an operation by itself.
    pub(crate) fn trips(&self) -> &metrics::Counter {
        self.trips.get_or_init(|| trips(self.name))
    }

    /// The statements for SQLite.
    pub(crate) fn sqlite(&self) -> &[Part] {
        let part = |text: &str| Part { sql: text.to_owned(), arguments: Vec::new(), columns: OnceLock::new() };
        self.sqlite_parts.get_or_init(|| split(self.sqlite, part))
    }

    /// The statements for PostgreSQL.
    pub(crate) fn postgres(&'static self) -> &'static [Part] {
        let part = |text: &str| {
            let (sql, arguments) = renumbered(text);
            Part { sql, arguments, columns: OnceLock::new() }
        };
        self.postgres_parts.get_or_init(|| split(self.postgres, part))
    }

    /// Whether PostgreSQL takes the rows of `run_each` as arrays.
    pub(crate) fn takes_arrays(&self) -> bool {
        self.postgres.contains("unnest(")
    }
}

/// The counter of an operation's round trips: to the server, or to the thread that owns the file.
pub(crate) fn trips(operation: &'static str) -> metrics::Counter {
    telemetry::metrics_handle();
    metrics::counter!("carelink_database_round_trips_total", "operation" => operation)
}

/// A `;` that ends a line ends a statement.
fn split(text: &str, part: impl Fn(&str) -> Part) -> Vec<Part> {
    let text: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let statements = text.join("\n");
    let parts = statements.split(";\n").map(|part| part.trim().trim_end_matches(';').trim());
    parts.filter(|part| !part.is_empty()).map(part).collect()
}

/// Numbers the arguments that a part really uses from 1 without gaps, and says which they were.
fn renumbered(text: &str) -> (String, Vec<usize>) {
    let (mut sql, mut used) = (String::with_capacity(text.len()), Vec::new());
    let (mut quoted, mut rest) = (false, text.chars().peekable());
    while let Some(char) = rest.next() {
        quoted ^= char == '\'';
        sql.push(char);
        let mut number = None;
        while let Some(digit) = rest.peek().and_then(|next| next.to_digit(10)).filter(|_| char == '$' && !quoted) {
            number = Some(number.unwrap_or(0_usize).saturating_mul(10).saturating_add(digit as usize));
            rest.next();
        }
        if let Some(argument) = number.and_then(|number| number.checked_sub(1)) {
            let place = used.iter().position(|&known| known == argument).unwrap_or_else(|| {
                used.push(argument);
                used.len() - 1
            });
            sql.push_str(&(place + 1).to_string());
        }
    }
    (sql, used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_where_a_line_ends_with_a_semicolon() {
        let statement = Statement::shared("t", "-- comment; really\nselect ';' as a;\n\nselect 2;\n-- end\n");
        let parts: Vec<&str> = statement.sqlite().iter().map(|part| part.sql.as_str()).collect();
        assert_eq!(parts, ["select ';' as a", "select 2"]);
    }

    #[test]
    fn each_part_numbers_the_arguments_that_it_uses() {
        static TEXT: Statement = Statement::shared("t", "select $3, $1, $3, '$2', 'it''s $4';\nselect $12 + $2;\n");
        let parts: Vec<_> = TEXT.postgres().iter().map(|part| (part.sql.as_str(), part.arguments.clone())).collect();
        assert_eq!(parts, [("select $1, $2, $1, '$2', 'it''s $4'", vec![2, 0]), ("select $1 + $2", vec![11, 1])]);
    }
}
