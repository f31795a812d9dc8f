//! Taking a batch of a predecessor's users (L1, L2, L5).

use carelink_platform::clock::Timestamp;
use carelink_proto::auth::{ImportUsersRequest, ImportUsersResponse, LegacyUser, LegacyUserOutcome, LegacyUserResult};
use tonic::Extensions;

use super::author;
use crate::{
    App, Error,
    domain::{
        hasher,
        import::{Read, Row, RowRefused, Rules},
    },
    store::{self, Import, Incoming, RowOutcome, RowResult},
};

const MAX_USERS: usize = 1_000;
const MAX_SOURCE_BYTES: usize = 64;

pub(super) async fn import_users(app: &App, extensions: &Extensions, request: ImportUsersRequest) -> Result<ImportUsersResponse, Error> {
    app.store.trail.admit().map_err(Error::Refused)?;
    let ImportUsersRequest { source, users, dry_run, superusers_as_admins, qualify } = request;
    if users.len() > MAX_USERS {
        return Err(Error::Input("at most 1,000 users at a time"));
    }
    if !is_source(&source) {
        return Err(Error::Input("a source's name is 1 to 64 letters, digits, dots, underscores and hyphens"));
    }
    let rules = Rules { superusers_as_admins, qualify, allow_md5: app.config.allow_md5 };
    let rows: Vec<_> = users.iter().map(read).collect();
    let import = Import { source, rows: rows.clone(), rules, dry_run, author: author(extensions, String::new())? };
    let (outcomes, pending) = store::import_users(&app.store, import).await?;
    let delivered = app.subjects.deliver(pending).await;
    app.look_at_hashers().await?;
    let outcomes = users.iter().zip(&rows).zip(outcomes).map(|((user, row), outcome)| encode(user, row, outcome, rules));
    Ok(ImportUsersResponse { outcomes: outcomes.collect(), subjects_pending: u32::try_from(delivered.waiting).unwrap_or(u32::MAX) })
}

fn is_source(name: &str) -> bool {
    (1..=MAX_SOURCE_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn read(user: &LegacyUser) -> Result<Incoming, RowRefused> {
    let LegacyUser { legacy_id, username, email, full_name, password_hash, active, staff, superuser, roles, last_login_us, joined_us } =
        user;
    if *legacy_id <= 0 {
        return Err(RowRefused::KeyInvalid);
    }
    let row = Row {
        username,
        email,
        full_name,
        password_hash,
        active: *active,
        staff: *staff,
        superuser: *superuser,
        roles,
        last_login: Timestamp::from_micros(*last_login_us),
    };
    Ok(Incoming { legacy_id: *legacy_id, joined: Timestamp::from_micros(*joined_us), read: Read::new(&row)? })
}

fn encode(user: &LegacyUser, row: &Result<Incoming, RowRefused>, outcome: RowOutcome, rules: Rules) -> LegacyUserOutcome {
    let (result, refused) = match outcome.result {
        RowResult::Imported => (LegacyUserResult::Imported, None),
        RowResult::Updated => (LegacyUserResult::Updated, None),
        RowResult::Unchanged => (LegacyUserResult::Unchanged, None),
        RowResult::Refused(refused) => (LegacyUserResult::Refused, Some(refused.reason())),
    };
    let read = row.as_ref().ok().map(|incoming| &incoming.read);
    let (id, user_id) = outcome.user.map(|(id, user_id)| (id.as_bytes().to_vec(), user_id)).unwrap_or_default();
    LegacyUserOutcome {
        result: result.into(),
        reason: refused.or_else(|| read.and_then(|read| read.cannot_sign_in(rules))).unwrap_or_default().to_owned(),
        id,
        user_id,
        hasher: hasher::family(&user.password_hash).to_owned(),
        dropped_roles: read.map(|read| read.dropped.clone()).unwrap_or_default(),
        kept: outcome.kept.into_iter().map(str::to_owned).collect(),
    }
}
