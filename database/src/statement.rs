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
    #[allow(dead_code)] // the second engine's
    postgres: &'static str,
    parts: OnceLock<Vec<Part>>,
    runs: OnceLock<metrics::Counter>,
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
        Self { name, sqlite, postgres, parts: OnceLock::new(), runs: OnceLock::new() }
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

    /// The statements for SQLite. A `;` that ends a line ends a statement.
    pub(crate) fn sqlite(&self) -> &[Part] {
        self.parts.get_or_init(|| {
            let text: Vec<&str> = self.sqlite.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
            let statements = text.join("\n");
            let parts = statements.split(";\n").map(|part| part.trim().trim_end_matches(';').trim());
            parts.filter(|part| !part.is_empty()).map(|part| Part { sql: part.to_owned(), columns: OnceLock::new() }).collect()
        })
    }
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
}
