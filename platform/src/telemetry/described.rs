//! What metrics tell that no crate describes beside them: `/metrics` shows it, and docs/METRICS.md is made from it.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// To be called once there is a recorder.
pub(super) fn describe() {
    describe_counter!("carelink_audit_events_total", "Events that were new to the trail");
    describe_counter!("carelink_audit_wrong_producer_total", "Events stored and marked since whoever brought them may not write them");
    describe_gauge!("carelink_channel_replicas", "Replicas of a service that a connection stands to");
    describe_counter!("carelink_channel_connect_failures_total", "Attempts to connect to a replica that came to nothing");
    describe_counter!("carelink_channel_unavailable_total", "Calls that found no replica");
    describe_counter!("carelink_channel_retries_total", "Calls sent again, by why");
    describe_counter!("carelink_channel_budget_exhausted_total", "Calls not sent again since too many were");
    describe_counter!("carelink_database_commits_total", "Transactions committed; on SQLite each holds what had queued up");
    describe_gauge!("carelink_database_idle_connections", "Connections to PostgreSQL that nobody uses at the moment");
    describe_counter!("carelink_database_items_total", "Use cases written into the commits of SQLite");
    describe_counter!("carelink_database_outages_total", "Times for which the database took no writes");
    describe_counter!("carelink_database_refused_total", "Operations that got no connection to PostgreSQL, by why");
    describe_counter!("carelink_database_round_trips_total", "Round trips to PostgreSQL, or to the thread that owns the file");
    describe_counter!("carelink_database_statements_total", "Runs of each statement");
    describe_counter!("carelink_events_dropped_total", "Refused calls that found no room on their way into the trail");
    describe_counter!("carelink_hash_refused_total", "Sign-ins that found the hashing queue full");
    describe_histogram!("carelink_hash_seconds", Unit::Seconds, "What one password hash takes");
    describe_gauge!("carelink_http_connections", "Open connections of clients");
    describe_histogram!("carelink_http_request_duration_seconds", Unit::Seconds, "What a request takes, by route");
    describe_counter!("carelink_http_requests_total", "Requests answered");
    describe_gauge!("carelink_ops_scraped_timestamp_seconds", Unit::Seconds, "When these metrics were read the time before; 0: never");
    describe_gauge!("carelink_outbox_backlog", "Facts that wait for another service");
    describe_gauge!("carelink_outbox_oldest_seconds", Unit::Seconds, "How long the oldest of them has waited");
    describe_gauge!("carelink_process_start_timestamp_seconds", Unit::Seconds, "When this process began");
    describe_counter!("carelink_refreshes_total", "Refreshes, by what came of them");
    describe_gauge!("carelink_rpc_connections", "Open connections of services and operators");
    describe_histogram!("carelink_rpc_duration_seconds", Unit::Seconds, "What an RPC takes here");
    describe_counter!("carelink_rpc_requests_total", "RPCs answered here");
    describe_counter!("carelink_rpc_shed_total", "RPCs turned away for want of room, by lane");
    describe_counter!("carelink_subjects_raised_total", "Users raised past the version that token-service held, after a restore");
    describe_counter!("carelink_throttled_sign_ins_unrecorded_total", "Sign-ins turned away of which the trail could not be told");
    describe_gauge!("carelink_tls_certificate_expires_timestamp_seconds", Unit::Seconds, "When this process's certificate ends");
    describe_counter!("carelink_tls_refused_total", "Connections to internal ports that came to nothing before the first request");
    describe_counter!("carelink_tls_reloads_total", "Changes of certificates' files, by whether they could be used");
}
