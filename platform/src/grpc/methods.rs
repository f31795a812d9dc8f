//! What the contracts say of each RPC: whether it may be sent again, whether it answers with a stream.
//!
//! `option idempotency_level` in the `.proto` is the one place that says it; here it is read from the descriptors.

use std::{collections::HashMap, sync::LazyLock};

use prost::Message;
use prost_types::{FileDescriptorSet, method_options::IdempotencyLevel};

/// Of one RPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Method {
    /// Sent twice it does what it does once, so that one that may have arrived may be sent again.
    pub(crate) idempotent: bool,
    /// It takes one message; what streams cannot be sent again.
    pub(crate) one_message: bool,
    /// It answers with a stream, which ends when one side has had enough.
    pub(crate) streams: bool,
}

static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
    let described = FileDescriptorSet::decode(carelink_proto::DESCRIPTORS).unwrap_or_default();
    let mut methods = HashMap::new();
    for file in &described.file {
        for service in &file.service {
            for method in &service.method {
                let level = method.options.as_ref().map(prost_types::MethodOptions::idempotency_level);
                let idempotent = matches!(level, Some(IdempotencyLevel::Idempotent | IdempotencyLevel::NoSideEffects));
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let one_message = !method.client_streaming();
                methods.insert(path, Method { idempotent, one_message, streams: method.server_streaming() });
            }
        }
    }
    methods
});

/// What is known of an RPC by its path; nothing good of a foreign one.
pub(crate) fn method(path: &str) -> Method {
    METHODS.get(path).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t4_only_what_the_contracts_call_idempotent_is_sent_again() {
        let again: Vec<&str> = {
            let mut paths: Vec<&str> = METHODS.iter().filter(|(_, method)| method.idempotent).map(|(path, _)| path.as_str()).collect();
            paths.sort_unstable();
            paths
        };
        for path in ["/carelink.token.v1.TokenService/Refresh", "/carelink.audit.v1.AuditService/Append"] {
            assert!(again.contains(&path), "{path}");
        }
        for path in ["/carelink.auth.v1.AuthService/VerifyPassword", "/carelink.auth.v1.AuthService/CreateUser"] {
            assert!(METHODS.contains_key(path) && !again.contains(&path), "{path}");
        }
        let watch = method("/carelink.token.v1.TokenService/Watch");
        assert!(watch.streams && watch.one_message);
        assert_eq!(method("/foreign.Service/Method"), Method::default());
    }
}
