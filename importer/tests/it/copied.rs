//! The rows of a file as statements for a server.

use rusqlite::{Connection, types::ValueRef};

use crate::fixtures::{Made, fixture};

/// What a command line may hold, with room to spare.
const AT_ONCE: usize = 60_000;

/// A fixture's tables as Django makes them on a server.
pub fn schema(name: &str, engine: &str) -> String {
    std::fs::read_to_string(fixture(&format!("{name}.{engine}.sql"))).unwrap()
}

/// All rows that an import reads, whoever is referred to before who refers.
pub fn rows(made: &Made, backslash_escapes: bool) -> Vec<String> {
    let connection = Connection::open(&made.path).unwrap();
    let users: String = connection
        .query_row("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '%\\_user' ESCAPE '\\'", [], |row| row.get(0))
        .unwrap();
    let groups = format!("{users}_groups");
    let tables =
        ["django_migrations", "auth_group", &users, &groups, "token_blacklist_outstandingtoken", "token_blacklist_blacklistedtoken"];
    let mut statements = vec![String::new()];
    for table in tables {
        let mut select = connection.prepare(&format!("SELECT * FROM {table} ORDER BY id")).unwrap();
        let columns = select.column_names().join(", ");
        let count = select.column_count();
        let mut found = select.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let values: Vec<String> = (0..count).map(|at| literal(row.get_ref(at).unwrap(), backslash_escapes)).collect();
            let last = statements.last_mut().unwrap();
            last.push_str(&format!("INSERT INTO {table} ({columns}) VALUES ({});\n", values.join(", ")));
            if last.len() > AT_ONCE {
                statements.push(String::new());
            }
        }
    }
    statements.retain(|statement| !statement.is_empty());
    statements
        .iter()
        .map(|statement| if backslash_escapes { statement.clone() } else { format!("SET timezone = 'UTC'; {statement}") })
        .collect()
}

fn literal(value: ValueRef<'_>, backslash_escapes: bool) -> String {
    let text = match value {
        ValueRef::Null => return "NULL".into(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Text(text) => std::str::from_utf8(text).unwrap().replace('\'', "''"),
        _ => panic!("nothing else is in the fixtures"),
    };
    format!("'{}'", if backslash_escapes { text.replace('\\', "\\\\") } else { text })
}
