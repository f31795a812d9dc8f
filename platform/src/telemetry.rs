//! Logs, metrics and traces of a process. Every log line carries the trace id of the request it belongs to.
//!
//! Without a configured OTLP endpoint there is no OpenTelemetry layer and no span is opened: spans cost
//! more than anything else on the hot path but the database.

mod described;
mod levels;

use std::{
    fmt,
    io::IsTerminal,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::{
    SpanId, TraceId,
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{
    Resource,
    trace::{IdGenerator, Sampler, SdkTracerProvider},
};
use serde::{Deserialize, Serialize};
use tracing::{Event, Span, Subscriber, field::Visit};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::{
    clock::Clock,
    config::ConfigError,
    context::{RequestContext, TraceContext},
    random::Random,
};

pub use levels::{Directives, Logging, lasting, logging, set_logging};

/// Seconds, for every duration that is measured.
const BUCKETS: &[f64] = &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
/// 0: no spans; else the share of sampled roots, in 2^-32.
static SAMPLED_SHARE: AtomicU64 = AtomicU64::new(0);

crate::settings! {
    /// Section `telemetry`.
    #[derive(Clone, Debug, Deserialize, Serialize)]
    pub struct TelemetryConfig {
        /// What to log: `info`, `debug`, `token_service=debug,warn`.
        pub log: String,
        /// How lines look: `text`, `json`, or `auto`: text on a terminal.
        pub log_format: LogFormat,
        /// Where spans go (OTLP over gRPC), such as `http://127.0.0.1:4317`; none: no spans.
        pub otlp_endpoint: Option<String>,
        /// The share of requests whose spans are kept, 0 to 1, where the caller has not decided.
        pub sample_ratio: f64,
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: "info".to_owned(), log_format: LogFormat::Auto, otlp_endpoint: None, sample_ratio: 1.0 }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Flushes what has not been exported when it is dropped.
#[derive(Debug)]
#[must_use = "spans are lost where it is dropped early"]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.0 {
            let _ = provider.shutdown(); // nobody left to tell
        }
    }
}

/// Sets up logs, metrics and traces of this process, once. Logs go to standard error.
///
/// # Errors
/// Where the filter or the endpoint cannot be used.
pub fn init(config: &TelemetryConfig, service: &'static str) -> Result<Telemetry, ConfigError> {
    let filter = EnvFilter::try_new(&config.log).map_err(|error| ConfigError::invalid("telemetry.log", error.to_string()))?;
    if !(0.0..=1.0).contains(&config.sample_ratio) {
        return Err(ConfigError::invalid("telemetry.sample_ratio", "is a share between 0 and 1"));
    }
    metrics_handle();
    let json = match config.log_format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = tracing_subscriber::fmt::layer()
        .event_format(Lines { json, clock: Clock::system() })
        .with_writer(std::io::stderr)
        .with_filter(levels::install(filter, &config.log));
    let provider = config.otlp_endpoint.as_deref().map(|endpoint| exporter(endpoint, service)).transpose()?;
    let spans = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("carelink")).with_threads(false).with_location(false));
    let spans =
        spans.map(|layer| layer.with_filter(tracing_subscriber::filter::filter_fn(|meta| meta.is_span() && meta.target() == SPANS)));
    if provider.is_some() {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a share between 0 and 1
        SAMPLED_SHARE.store((config.sample_ratio * f64::from(u32::MAX)) as u64 + 1, Ordering::Relaxed);
    }
    let _ = tracing_subscriber::registry().with(lines).with(spans).try_init(); // a second call in a test keeps the first
    Ok(Telemetry(provider))
}

fn exporter(endpoint: &str, service: &'static str) -> Result<SdkTracerProvider, ConfigError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| ConfigError::invalid("telemetry.otlp_endpoint", error.to_string()))?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_id_generator(Ids(Random::system()))
        .with_sampler(Sampler::AlwaysOn) // decided at the edge: what is not sampled opens no span
        .with_resource(Resource::builder().with_service_name(service).build())
        .build())
}

/// The registry of metrics, for the ops port.
pub fn metrics_handle() -> &'static PrometheusHandle {
    METRICS.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS);
        let recorder = builder.unwrap_or_else(|_| PrometheusBuilder::new()).build_recorder();
        let handle = recorder.handle();
        let _ = metrics::set_global_recorder(recorder); // another one was set first: ours stays empty
        described::describe();
        handle
    })
}

/// Whether a trace that begins here is sampled.
pub fn sample(random: &Random) -> bool {
    let share = SAMPLED_SHARE.load(Ordering::Relaxed);
    share > 0 && u64::from(u32::from_be_bytes(random.bytes())) < share
}

const SPANS: &str = "carelink::span";

/// What kind of span one is.
#[derive(Clone, Copy, Debug)]
pub enum SpanKind {
    /// Serves a request.
    Server,
    /// Makes a request.
    Client,
}

/// Opens a span in `parent` and says where what happens in it belongs. Where nothing is recorded it costs nothing.
pub fn span(kind: SpanKind, name: &str, parent: TraceContext) -> (Span, TraceContext) {
    if !parent.sampled || SAMPLED_SHARE.load(Ordering::Relaxed) == 0 {
        return (Span::none(), parent);
    }
    let kind = match kind {
        SpanKind::Server => "server",
        SpanKind::Client => "client",
    };
    let span =
        tracing::info_span!(target: SPANS, parent: None, "span", otel.name = name, otel.kind = kind, outcome = tracing::field::Empty);
    let _ = span.set_parent(parent.to_otel()); // fails only where no layer listens
    let own = span.context().span().span_context().clone();
    let inside = TraceContext { trace_id: parent.trace_id, span_id: own.span_id().to_bytes(), sampled: true };
    (span, if own.is_valid() { inside } else { parent })
}

/// Span ids from our own generator; a trace that begins here keeps the id its log lines already have.
#[derive(Debug)]
struct Ids(Random);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from_bytes(TraceContext::current().map_or_else(|| self.0.bytes(), |trace| trace.trace_id))
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from_bytes(self.0.bytes())
    }
}

/// Log lines: time, level, target, trace id, message, fields.
struct Lines {
    json: bool,
    clock: Clock,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let trace = RequestContext::current().map(|context| context.trace.trace_hex());
        let now = self.clock.now();
        if self.json {
            let mut line = serde_json::Map::new();
            line.insert("time".into(), now.to_string().into());
            line.insert("level".into(), meta.level().as_str().into());
            line.insert("target".into(), meta.target().into());
            if let Some(trace) = trace {
                line.insert("trace_id".into(), trace.into());
            }
            line.insert("message".into(), fields.message.into());
            line.extend(fields.others.into_iter().map(|(name, value)| (name.to_owned(), value)));
            return writeln!(writer, "{}", serde_json::Value::Object(line));
        }
        write!(writer, "{now} {:5} {}: {}", meta.level(), meta.target(), fields.message.escape_debug())?;
        for (name, value) in fields.others {
            write!(writer, " {name}={value}")?;
        }
        if let Some(trace) = trace {
            write!(writer, " trace_id={trace}")?;
        }
        writeln!(writer)
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, serde_json::Value)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            name => self.others.push((name, text.into())),
        }
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.others.push((name, value.into())),
        }
    }

    fn record_i64(&mut self, field: &tracing::field::Field, value: i64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        self.others.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &tracing::field::Field, value: bool) {
        self.others.push((field.name(), value.into()));
    }

    fn record_f64(&mut self, field: &tracing::field::Field, value: f64) {
        self.others.push((field.name(), value.into()));
    }
}
