//! What an import did, for people: users by hasher, tokens by state, who was refused, and what to know besides.

use std::collections::BTreeMap;

use importer::{Note, Report, TokenTally, UserTally};

use crate::output::{Console, Table};

/// How many of those refused are named; `--json` has more.
const NAMED: usize = 20;

/// Tells it, as text or as one document.
pub(super) fn tell(report: &Report, console: &mut Console) -> anyhow::Result<()> {
    if console.json() {
        return console.value(report);
    }
    console.line(headline(report))?;
    console.line("")?;
    console.table(users(report))?;
    if report.tokens.total() > 0 {
        console.line("")?;
        console.table(tokens(&report.tokens, report.dry_run))?;
    }
    let remarks = remarks(report);
    if !remarks.is_empty() {
        console.line("")?;
    }
    remarks.iter().try_for_each(|remark| console.line(remark))
}

fn headline(report: &Report) -> String {
    let sum = |of: fn(&UserTally) -> u64| report.users.values().map(of).sum::<u64>();
    let known = sum(|tally| tally.imported + tally.updated + tally.unchanged);
    let said = match (report.dry_run, report.changed_nothing()) {
        (true, _) => "Dry run, nothing was changed",
        (false, true) => "Nothing to change",
        (false, false) if sum(|tally| tally.imported) == 0 => "Brought up to date",
        (false, false) => "Imported",
    };
    let inactive = if report.inactive_users > 0 { format!(", {} of them inactive", report.inactive_users) } else { String::new() };
    format!("{said}: {} from {}, source `{}`{inactive}", counted(known, "user"), report.layout.table, report.source)
}

fn users(report: &Report) -> Table {
    let mut table = Table::new(["USERS", "IMPORTED", "UPDATED", "UNCHANGED", "REFUSED", "WHY"]);
    let mut all = UserTally::default();
    for (hasher, tally) in &report.users {
        all.imported += tally.imported;
        all.updated += tally.updated;
        all.unchanged += tally.unchanged;
        merge(&mut all.refused, &tally.refused);
        merge(&mut all.cannot_sign_in, &tally.cannot_sign_in);
        table.row(row(hasher, tally));
    }
    let total = UserTally { cannot_sign_in: BTreeMap::new(), ..all };
    let mut last = row("all", &total);
    last[5].clear();
    table.row(last);
    table
}

fn row(name: &str, tally: &UserTally) -> [String; 6] {
    let refused = tally.refused.iter().map(|(reason, count)| format!("{count} {}", in_words(reason)));
    let idle = tally.cannot_sign_in.iter().map(|(reason, count)| format!("{count} cannot sign in: {}", in_words(reason)));
    [
        name.to_owned(),
        tally.imported.to_string(),
        tally.updated.to_string(),
        tally.unchanged.to_string(),
        tally.refused.values().sum::<u64>().to_string(),
        refused.chain(idle).collect::<Vec<_>>().join("; "),
    ]
}

fn merge(into: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (key, count) in from {
        *into.entry(key.clone()).or_default() += count;
    }
}

fn tokens(tally: &TokenTally, dry_run: bool) -> Table {
    let mut table = Table::new(["TOKENS", "COUNT", "WHAT THAT MEANS"]);
    let live = if dry_run { "would be sessions here" } else { "sessions now; their next refresh brings tokens of ours" };
    let states = [
        ("live", tally.live, live),
        ("blacklisted", tally.blacklisted, "refused here as there"),
        ("expired", tally.expired, "past their end"),
        ("inactive user", tally.inactive_user, "refused, since their users are inactive"),
        ("unknown user", tally.unknown_user, "refused, since their users are not here"),
        ("unchanged", tally.unchanged, "taken over before"),
        ("ended", tally.ended, "blacklisted there since, so ended here"),
        ("kept", tally.kept, "changed there, but moved on here"),
    ];
    for (state, count, meaning) in states.into_iter().filter(|(_, count, _)| *count > 0) {
        table.row([state.to_owned(), count.to_string(), meaning.to_owned()]);
    }
    for (reason, count) in &tally.refused {
        table.row(["refused".to_owned(), count.to_string(), in_words(reason)]);
    }
    table.row(["all".to_owned(), tally.total().to_string(), String::new()]);
    table
}

fn remarks(report: &Report) -> Vec<String> {
    let mut remarks: Vec<String> = report.notes.iter().map(|note| self::note(*note, report)).collect();
    for (role, count) in &report.dropped_roles {
        remarks.push(format!(
            "The source's own role `{role}` was dropped from {}; grant ours with: carelink user roles NAME --add {role}",
            counted(*count, "user")
        ));
    }
    for (field, count) in &report.kept_fields {
        remarks.push(format!("Kept as changed here: {} of {}", in_words(field), counted(*count, "user")));
    }
    if report.admins.total() > 0 {
        let more = if report.admins.more > 0 { format!(" and {} more", report.admins.more) } else { String::new() };
        let verb = if report.dry_run { "Would be administrators" } else { "Administrators now" };
        remarks.push(format!("{verb}: {}{more}", report.admins.first.join(", ")));
    }
    if report.subjects_pending > 0 {
        remarks.push(format!(
            "{} not yet known where tokens are made; run the import again, so that none of their tokens is missing",
            counted(report.subjects_pending.into(), "user")
        ));
    }
    remarks.extend(refused(report));
    remarks
}

fn refused(report: &Report) -> Vec<String> {
    let total = report.refused.total();
    let mut lines: Vec<String> = report.refused.first.iter().take(NAMED).map(one_refused).collect();
    if let Some(more) = total.checked_sub(u64::try_from(NAMED).unwrap_or(u64::MAX)).filter(|more| *more > 0) {
        lines.push(format!("  and {more} more; --json lists up to 1,000"));
    }
    if !lines.is_empty() {
        lines.insert(0, format!("Refused, {}:", counted(total, "user")));
    }
    if report.refused.first.iter().any(|user| user.reason == "name_taken") {
        lines.push(format!("  --qualify imports names that others have here as NAME@{}", report.source));
    }
    lines
}

fn one_refused(user: &importer::RefusedUser) -> String {
    let name = user.username.as_deref().filter(|name| !name.is_empty()).unwrap_or("(no name)");
    let id = user.legacy_id.map(|id| format!(" (id {id})")).unwrap_or_default();
    format!("  {name}{id}: {}", in_words(&user.reason))
}

fn note(note: Note, report: &Report) -> String {
    match note {
        Note::EverybodyActive => format!("{} has no column is_active: everybody in it counts as active.", report.layout.table),
        Note::NoSnapshot => format!(
            "{} is of an engine without transactions (MyISAM or the like): what the predecessor wrote meanwhile may be half in it; \
             with the predecessor stopped, run this once more.",
            report.layout.table
        ),
        Note::NoTokenTables => {
            "The source keeps no refresh tokens (no tables of SimpleJWT's blacklist): everybody signs in once more.".into()
        }
        Note::NoKey => format!(
            "{} left out; with --secret-key-file their holders need not sign in again.",
            counted(report.tokens.left_out, "outstanding refresh token")
        ),
        Note::UnrecordedRotations { blacklisted } => format!(
            "The source comes from before SimpleJWT 5.5, which did not record what followed a rotated refresh token \
             ({blacklisted} blacklisted, none followed): who refreshed there since signing in has to sign in once more, unless \
             legacy.accept is signed and legacy.until a day soon (whoever knows that SECRET_KEY can make tokens till then)."
        ),
        Note::OtherKeys { others } => format!(
            "{others} of the newest outstanding refresh tokens were signed with another key: whoever holds one has to sign in again."
        ),
        _ => String::new(),
    }
}

/// A stable reason as people say it; one that is not known here, as it is but for its underscores.
fn in_words(reason: &str) -> String {
    match reason {
        "name_taken" => "name taken by somebody else here",
        "name_invalid" => "name that cannot be kept",
        "username_missing" => "without a name",
        "hash_malformed" => "malformed hash",
        "hash_too_costly" => "hash too costly to check",
        "hasher_unknown" => "hash of an unknown kind",
        "md5_not_allowed" => "password.allow_md5 is off",
        "id_invalid" => "id not from 1 to 2147483647",
        "date_malformed" => "date that is none",
        "flag_malformed" => "flag neither 0 nor 1",
        "text_malformed" => "text that is none",
        "jti_malformed" => "without a usable jti",
        other => return other.replace('_', " "),
    }
    .to_owned()
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use importer::{Listed, Location, RefusedUser, Source, Wanted};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told(report: &Report, json: bool) -> String {
        let written = Written::default();
        tell(report, &mut Console::new(json, written.clone(), io::sink())).unwrap();
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    async fn report() -> Report {
        let fixture = format!("{}/../tests/fixtures/predecessor/auth-user.sqlite3", env!("CARGO_MANIFEST_DIR"));
        let taken =
            RefusedUser { legacy_id: Some(7), username: Some("bo\u{1b}".into()), hasher: "argon2".into(), reason: "name_taken".into() };
        Report {
            source: "east".into(),
            dry_run: false,
            layout: Source::open(&Location::file(&fixture), &Wanted::default()).await.unwrap().layout().clone(),
            users: [
                (
                    "argon2".into(),
                    UserTally { imported: 110, updated: 2, refused: [("name_taken".into(), 1)].into(), ..UserTally::default() },
                ),
                ("md5".into(), UserTally { imported: 5, cannot_sign_in: [("md5_not_allowed".into(), 5)].into(), ..UserTally::default() }),
            ]
            .into(),
            inactive_users: 9,
            tokens: TokenTally { live: 38, expired: 10, refused: [("jti_malformed".into(), 1)].into(), ..TokenTally::default() },
            dropped_roles: [("admin".into(), 34)].into(),
            kept_fields: [("full_name".into(), 1)].into(),
            refused: Listed { first: vec![taken], more: 0 },
            admins: Listed { first: vec!["haruto0".into()], more: 0 },
            subjects_pending: 0,
            notes: vec![Note::UnrecordedRotations { blacklisted: 8 }],
        }
    }

    #[tokio::test]
    async fn l1_every_row_is_accounted_for_with_the_reason_beside_it() {
        assert_eq!(
            told(&report().await, false),
            "Imported: 117 users from auth_user, source `east`, 9 of them inactive

USERS   IMPORTED  UPDATED  UNCHANGED  REFUSED  WHY
argon2  110       2        0          1        1 name taken by somebody else here
md5     5         0        0          0        5 cannot sign in: password.allow_md5 is off
all     115       2        0          1

TOKENS   COUNT  WHAT THAT MEANS
live     38     sessions now; their next refresh brings tokens of ours
expired  10     past their end
refused  1      without a usable jti
all      49

The source comes from before SimpleJWT 5.5, which did not record what followed a rotated refresh token (8 blacklisted, none followed): \
who refreshed there since signing in has to sign in once more, unless legacy.accept is signed and legacy.until a day soon \
(whoever knows that SECRET_KEY can make tokens till then).
The source's own role `admin` was dropped from 34 users; grant ours with: carelink user roles NAME --add admin
Kept as changed here: full name of 1 user
Administrators now: haruto0
Refused, 1 user:
  bo\\u{1b} (id 7): name taken by somebody else here
  --qualify imports names that others have here as NAME@east
"
        );
    }

    #[tokio::test]
    async fn a_long_list_of_refusals_is_cut() {
        let mut report = report().await;
        let one = report.refused.first[0].clone();
        report.refused = Listed { first: vec![one; 1_000], more: 5 };
        assert!(told(&report, false).contains("\n  and 985 more; --json lists up to 1,000\n"));
    }

    #[tokio::test]
    async fn l5_a_second_run_says_there_is_nothing_to_change() {
        let tally = UserTally { unchanged: 240, ..UserTally::default() };
        let tokens = TokenTally { unchanged: 60, ..TokenTally::default() };
        let report = Report { users: [("argon2".into(), tally)].into(), tokens, ..report().await };
        assert!(told(&report, false).starts_with("Nothing to change: 240 users from auth_user"));
        let ended = Report { tokens: TokenTally { ended: 1, ..TokenTally::default() }, ..report.clone() };
        assert!(told(&ended, false).starts_with("Brought up to date: 240 users from auth_user"));
        assert!(told(&Report { dry_run: true, ..report }, false).starts_with("Dry run, nothing was changed: 240 users"));
    }

    #[tokio::test]
    async fn json_is_the_whole_report() {
        let json: serde_json::Value = serde_json::from_str(&told(&report().await, true)).unwrap();
        assert_eq!((&json["users"]["argon2"]["imported"], &json["tokens"]["live"]), (&110.into(), &38.into()));
        assert_eq!((&json["refused"]["first"][0]["reason"], &json["layout"]["username"]), (&"name_taken".into(), &"username".into()));
        assert_eq!(json["notes"][0]["note"], "unrecorded_rotations");
    }
}
