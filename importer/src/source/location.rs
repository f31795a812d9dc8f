//! Where a source is: a file or a server, as the operator writes it. A password in it is not shown again.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use sqlx::{ConnectOptions, postgres::PgConnectOptions};
use sqlx_mysql::MySqlConnectOptions;

use crate::error::SourceError;

/// Where a source is.
#[derive(Clone)]
pub struct Location(pub(super) At);

#[derive(Clone)]
pub(super) enum At {
    File(PathBuf),
    Postgres(Box<PgConnectOptions>),
    MariaDb(Box<MySqlConnectOptions>),
}

impl Location {
    /// Reads a path, or a URL as Django's operators write it.
    ///
    /// # Errors
    /// Where it begins as a URL and is none of a database that can be read.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(Self::file(text)) };
        Ok(Self(match scheme.to_ascii_lowercase().as_str() {
            "sqlite" | "sqlite3" => return Ok(Self::file(rest.strip_prefix('/').unwrap_or(rest))),
            "postgres" | "postgresql" | "psql" | "pgsql" | "postgis" => {
                let expected = "postgres://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full&sslrootcert=FILE";
                let options = PgConnectOptions::from_str(&format!("postgres://{rest}")).map_err(|_| SourceError::Address { expected })?;
                options.get_database().filter(|name| !name.is_empty()).ok_or(SourceError::NoDatabaseName { expected })?;
                At::Postgres(Box::new(options.application_name("carelink import").disable_statement_logging()))
            }
            "mysql" | "mysql2" | "mariadb" => {
                let expected = "mysql://USER:PASSWORD@HOST:3306/DATABASE?ssl-mode=VERIFY_IDENTITY&ssl-ca=FILE";
                let options = MySqlConnectOptions::from_str(&format!("mysql://{rest}")).map_err(|_| SourceError::Address { expected })?;
                options.get_database().filter(|name| !name.is_empty()).ok_or(SourceError::NoDatabaseName { expected })?;
                At::MariaDb(Box::new(options.disable_statement_logging()))
            }
            _ => return Err(SourceError::UnknownKind { kind: format!("{scheme}://") }),
        }))
    }

    /// A SQLite file.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self(At::File(path.as_ref().into()))
    }

    /// The database's name: a file's without its folders and ending.
    pub fn name(&self) -> String {
        match &self.0 {
            At::File(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            At::Postgres(options) => options.get_database().unwrap_or_default().to_owned(),
            At::MariaDb(options) => options.get_database().unwrap_or_default().to_owned(),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

/// Without the password.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            At::File(path) => write!(f, "{}", path.display()),
            At::Postgres(at) => match at.get_socket() {
                Some(socket) => write!(f, "PostgreSQL at {}", socket.display()),
                None => write!(f, "PostgreSQL at {}:{}", at.get_host(), at.get_port()),
            },
            At::MariaDb(at) => match at.get_socket() {
                Some(socket) => write!(f, "MariaDB at {}", socket.display()),
                None => write!(f, "MariaDB at {}:{}", at.get_host(), at.get_port()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l1_a_source_is_called_as_its_database() {
        for (location, name) in [
            ("../old/auth-user.sqlite3", "auth-user"),
            ("db", "db"),
            ("..", ""),
            ("sqlite:////srv/old/db.sqlite3", "db"),
            ("postgres://django:secret@db.example/clinic?sslmode=require", "clinic"),
            ("psql://django@db.example:5433/clinic", "clinic"),
            ("postgresql:///clinic?host=/run/postgresql&user=django", "clinic"),
            ("mysql://django:secret@db.example/clinic%2Deast", "clinic-east"),
            ("mariadb://django@localhost/clinic?socket=/run/mysqld/mysqld.sock", "clinic"),
        ] {
            assert_eq!(Location::parse(location).unwrap().name(), name, "{location}");
        }
    }

    #[test]
    fn an_address_that_is_none_gets_a_sentence_without_its_password() {
        for (location, begins) in [
            ("postgres://django:s3cret@db.example:port/clinic", "the source's address cannot be read; it looks like postgres://"),
            ("mysql://django:s3cret@db.example/clinic?ssl-mode=maybe", "the source's address cannot be read; it looks like mysql://"),
            ("mysql://django:s3cret@db.example", "the source's address names no database; it looks like mysql://"),
            ("oracle://django:s3cret@db.example/clinic", "oracle:// cannot be imported from; a SQLite file, postgres:// and mysql:// can"),
        ] {
            let sentence = Location::parse(location).unwrap_err().to_string();
            assert!(sentence.starts_with(begins) && !sentence.contains("s3cret"), "{sentence}");
        }
    }

    #[test]
    fn a_location_does_not_show_its_password() {
        for location in ["postgres://django:s3cret@db.example/clinic", "mysql://django:s3cret@db.example/clinic"] {
            let location = Location::parse(location).unwrap();
            assert!(!format!("{location:?} {location}").contains("s3cret"));
        }
    }
}
