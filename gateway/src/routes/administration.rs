//! The paths of administrators and auditors. A role stands in each row; the services judge it again (G2).

use carelink_platform::errors::Reason;
use http::Method;

use super::operation::{Access, Endpoint, Operation};
use crate::v1::{
    admin, boxed_for_user,
    query::{Moment, OrderName, OutcomeName, Word},
    sessions, trail,
};

const TAG: &str = "Administration";
const READERS: &[&str] = &["admin", "auditor"];
const ADMINISTRATORS: &[&str] = &["admin"];

pub(super) fn endpoints() -> Vec<Endpoint> {
    let users = Operation::new(Method::GET, "listUsers", TAG, "Users", Access::Role(READERS, boxed_for_user!(admin::users)))
        .query::<Word>("prefix", "Only names that begin so")
        .query::<Word>("role", "Only those with this role")
        .query::<bool>("disabled", "Only disabled ones")
        .query::<OrderName>("order", "`name`, or `last_sign_in`: who has not signed in for longest comes first")
        .query::<Moment>("not_since", "Only those who have not signed in since then (RFC 3339)")
        .pages()
        .tells::<admin::Users>(200, "A page");
    let listed = Operation::new(Method::GET, "listSessions", TAG, "Sessions", Access::Role(READERS, boxed_for_user!(admin::sessions)))
        .query::<uuid::Uuid>("user", "Only this subject's")
        .query::<bool>("ended", "Also ended ones")
        .pages()
        .tells::<admin::Sessions>(200, "A page, newest first");
    let all = Operation::new(
        Method::DELETE,
        "endSessions",
        TAG,
        "Sign somebody out everywhere",
        Access::Role(ADMINISTRATORS, boxed_for_user!(admin::end_sessions)),
    )
    .needs::<uuid::Uuid>("user", "Whose")
    .needs::<Word>("reason", "Why, for the trail")
    .tells::<sessions::Ended>(200, "They are over")
    .refuses(&[Reason::ReasonRequired, Reason::UserNotFound]);
    let one = Operation::new(
        Method::DELETE,
        "endSession",
        TAG,
        "End a session",
        Access::Role(ADMINISTRATORS, boxed_for_user!(admin::end_session)),
    )
    .part::<uuid::Uuid>("id", "Whichever session")
    .needs::<Word>("reason", "Why, for the trail")
    .sends(204, "It is over; that it was before is no failure", None)
    .refuses(&[Reason::ReasonRequired, Reason::SessionNotFound]);
    let keys = Operation::new(Method::GET, "listKeys", TAG, "Keys that sign tokens", Access::Role(READERS, boxed_for_user!(admin::keys)))
        .tells::<admin::Keys>(200, "All of them, without their secrets");
    let events = Operation::new(Method::GET, "listEvents", TAG, "The trail", Access::Role(READERS, boxed_for_user!(trail::list)))
        .about("Reading the trail is itself an event.")
        .query::<uuid::Uuid>("user", "Who did it, or to whom")
        .query::<uuid::Uuid>("session", "Of this session")
        .query::<Word>("type", "Of this type; a trailing `*` matches any ending")
        .query::<OutcomeName>("outcome", "`success` or `failure`")
        .query::<uuid::Uuid>("trace_id", "Of this request")
        .query::<Word>("actor", "Who did it, where that is no user: `uid:1000`, `cert:alice`, `gateway`")
        .query::<Moment>("since", "Not before (RFC 3339)")
        .query::<Moment>("until", "Before (RFC 3339)")
        .pages()
        .tells::<trail::Events>(200, "A page, newest first");
    vec![
        Endpoint::own("/v1/admin/users", [users]),
        Endpoint::own("/v1/admin/sessions", [listed, all]),
        Endpoint::own("/v1/admin/sessions/{id}", [one]),
        Endpoint::own("/v1/admin/keys", [keys]),
        Endpoint::own("/v1/admin/audit", [events]),
    ]
}
