//! The gRPC contracts, compiled: messages, typed clients, server traits, and the descriptors that reflection serves.
//!
//! The contracts themselves, with the state machine of a session, are the `.proto` files beside this crate.
#![allow(missing_docs, clippy::all, clippy::pedantic, unused_qualifications, unreachable_pub)] // generated

pub mod codec;

/// `carelink.audit.v1`: the trail.
pub mod audit {
    tonic::include_proto!("carelink.audit.v1");
}

/// `carelink.auth.v1`: users and their credentials.
pub mod auth {
    tonic::include_proto!("carelink.auth.v1");
}

/// `carelink.ops.v1`: what operators ask of a process.
pub mod ops {
    tonic::include_proto!("carelink.ops.v1");
}

/// `carelink.token.v1`: sessions, tokens, revocations.
pub mod token {
    tonic::include_proto!("carelink.token.v1");
}

/// All services as an encoded `FileDescriptorSet`, for reflection and for tests that walk every RPC.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
