//! What travels with a request: its trace (W3C Trace Context) and its deadline (T4).

use std::{future::Future, time::Duration};

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tokio::time::Instant;
use uuid::Uuid;

use crate::random::Random;

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// Where in which trace we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Shared by everything that one request causes.
    pub trace_id: [u8; 16],
    /// The span that what happens now belongs to.
    pub span_id: [u8; 8],
    /// Whether spans are recorded; decided once, at the edge.
    pub sampled: bool,
}

impl TraceContext {
    /// The beginning of a trace.
    pub fn root(random: &Random, sampled: bool) -> Self {
        Self { trace_id: random.bytes(), span_id: random.bytes(), sampled }
    }

    /// Reads a `traceparent` header; what is malformed counts as absent.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if version.len() != 2
            || version == "ff"
            || !lower(version)
            || !lower(trace)
            || !lower(span)
            || (version == "00" && parts.next().is_some())
        {
            return None;
        }
        let (mut trace_id, mut span_id, mut flag) = ([0; 16], [0; 8], [0; 1]);
        hex::decode_to_slice(trace, &mut trace_id).ok()?;
        hex::decode_to_slice(span, &mut span_id).ok()?;
        hex::decode_to_slice(flags, &mut flag).ok()?;
        (trace_id != [0; 16] && span_id != [0; 8]).then_some(Self { trace_id, span_id, sampled: flag[0] & 1 == 1 })
    }

    /// As a `traceparent` header.
    pub fn to_traceparent(&self) -> String {
        format!("00-{}-{:016x}-{:02x}", Uuid::from_bytes(self.trace_id).simple(), u64::from_be_bytes(self.span_id), u8::from(self.sampled))
    }

    /// The trace id as 32 hexadecimal digits.
    pub fn trace_hex(&self) -> String {
        Uuid::from_bytes(self.trace_id).simple().to_string()
    }

    /// The trace of the request that is being served, if one is.
    pub fn current() -> Option<Self> {
        RequestContext::current().map(|context| context.trace)
    }

    pub(crate) fn to_otel(self) -> opentelemetry::Context {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let span =
            SpanContext::new(TraceId::from_bytes(self.trace_id), SpanId::from_bytes(self.span_id), flags, true, TraceState::default());
        opentelemetry::Context::new().with_remote_span_context(span)
    }
}

/// What travels with a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext {
    /// Its trace.
    pub trace: TraceContext,
    /// When nobody waits for the answer any more.
    pub deadline: Option<Instant>,
}

impl RequestContext {
    /// That of the request being served, if one is.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|context| *context).ok()
    }

    /// How long the request being served may still take.
    pub fn remaining() -> Option<Duration> {
        Self::current()?.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Serves within this context.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// Runs within this context on a thread that is not the request's own.
    pub fn sync_scope<T>(context: Option<Self>, run: impl FnOnce() -> T) -> T {
        match context {
            Some(context) => CURRENT.sync_scope(context, run),
            None => run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_reads_and_prints_the_same() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceContext::parse(text).unwrap().to_traceparent(), text);
    }

    #[test]
    fn a_malformed_traceparent_counts_as_absent() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }
}
