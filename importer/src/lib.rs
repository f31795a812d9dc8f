//! Reads the database of the predecessor (Django with SimpleJWT) and hands its users and refresh tokens over (L1 to L5).
//!
//! Owns: opening a source read-only and finding its tables ([`Source`], [`Wanted`]), reading it row by row in bounded
//! memory, and the calls in their order ([`run`]): `auth.ImportUsers`, `token.RegisterSource`, `token.ImportSessions`.
//! Leaves to the services: every decision about a row that can be read. What cannot be read is refused here, with a reason.
//!
//! Never stores anything: a second run finds out from the services what is left to do.

mod datetime;
mod error;
mod holders;
mod report;
mod run;
mod source;

pub use error::{ImportError, SourceError};
pub use report::{Listed, Note, RefusedUser, Report, TokenTally, UserTally};
pub use run::{Options, Progress, Services, Step, run};
pub use source::{
    AHEAD, BATCH, Batch, Batches, Location, Rows, Source, SourceToken, Totals,
    layout::{Layout, Names, Wanted},
};
