//! What a server says when it does not do as it is asked, as the one sentence that an operator reads.

use std::io::ErrorKind;

use sqlx::{Error, postgres::PgDatabaseError};
use sqlx_mysql::MySqlDatabaseError;

use super::super::location::{At, Location};
use crate::error::SourceError;

/// A failure as a sentence about this server.
pub(super) fn explain(location: &Location, error: Error) -> SourceError {
    let (server, database) = (location.to_string(), location.name());
    let user = match &location.0 {
        At::Postgres(options) => options.get_username(),
        At::MariaDb(options) => options.get_username(),
        At::File(_) => "",
    }
    .to_owned();
    match error {
        // What TLS makes of a certificate comes as such an error.
        Error::Io(why) if why.kind() == ErrorKind::InvalidData => SourceError::NoTls { server, why: why.to_string() },
        Error::Io(why) => SourceError::Unreachable { server, why: why.to_string() },
        Error::Tls(why) => SourceError::NoTls { server, why: why.to_string() },
        Error::Protocol(_) => SourceError::OtherProtocol { server },
        Error::Database(said) => {
            let code = match said.try_downcast_ref::<MySqlDatabaseError>() {
                Some(mysql) => mysql.number().to_string(),
                None => said.try_downcast_ref::<PgDatabaseError>().map_or_else(String::new, |postgres| postgres.code().to_owned()),
            };
            let why = said.message().to_owned();
            match code.as_str() {
                "28P01" | "28000" | "1045" | "1698" => SourceError::NotLetIn { server, user, why },
                "3D000" | "1049" => SourceError::NoSuchDatabase { server, database },
                "42501" | "1044" | "1142" | "1143" | "1370" => SourceError::NoRight { server, user, why },
                _ => SourceError::Server { server, why },
            }
        }
        error => SourceError::Server { server, why: error.to_string() },
    }
}
