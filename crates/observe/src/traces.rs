//! Traces: spans are gathered as they end, and sent in batches by OTLP over HTTP in JSON, which is a
//! stable part of OpenTelemetry's protocol (opentelemetry.io/docs/specs/otlp).
//!
//! A request that is not sampled makes no span. The queue is bounded: what does not fit, or is
//! refused too often, is dropped and counted (O4). Nothing waits for a collector.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kernel::{Clock, Entropy, Timestamp};
use meter::Counter;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{DynFilterFn, dynamic_filter_fn};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use crate::error::Error;
use crate::outbound::Outbound;

/// The target of the spans that are exported.
const TARGET: &str = "stagedoor::trace";
/// Spans that wait to be sent.
const QUEUE: usize = 4_096;
/// Spans in one batch.
const BATCH: usize = 512;
/// How long spans may gather.
const GATHER: Duration = Duration::from_secs(1);
/// Times that a batch is offered.
const TRIES: u32 = 3;
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// What became of spans.
#[derive(Debug, Default)]
pub struct TraceMeters {
    sent: Counter,
    dropped: Counter,
}

impl TraceMeters {
    /// Spans that the collector took.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Spans that it did not hear of.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

/// A span as it is sent.
#[derive(Clone, Debug, Default)]
struct Ended {
    name: &'static str,
    kind: u8,
    trace: u128,
    id: u64,
    under: u64,
    began: Timestamp,
    ended: Timestamp,
    method: Option<String>,
    route: Option<String>,
    upstream: Option<String>,
    status: Option<u64>,
}

/// Gathers spans as they end: a layer of the program's subscriber.
pub struct Spans {
    queue: mpsc::Sender<Ended>,
    meters: Arc<TraceMeters>,
    clock: Arc<dyn Clock>,
    seed: u64,
    made: AtomicU64,
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spans")
    }
}

/// Sends what [`Spans`] gathers.
#[derive(Debug)]
pub struct Exporter {
    queue: mpsc::Receiver<Ended>,
    meters: Arc<TraceMeters>,
    outbound: Outbound,
    resource: Value,
}

/// The two ends of a queue of spans; `resource` says who sends them: name and value.
pub fn queue(
    outbound: Outbound,
    resource: &[(&str, &str)],
    clock: Arc<dyn Clock>,
    entropy: &dyn Entropy,
) -> (Spans, Exporter) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let meters = Arc::new(TraceMeters::default());
    let mut seed = [0; 8];
    entropy.fill(&mut seed);
    let spans = Spans {
        queue: sender,
        meters: Arc::clone(&meters),
        clock,
        seed: u64::from_be_bytes(seed),
        made: AtomicU64::new(0),
    };
    let attributes: Vec<Value> = resource.iter().map(|(key, value)| text_of(key, value)).collect();
    let resource = json!({ "attributes": attributes });
    (spans, Exporter { queue: receiver, meters, outbound, resource })
}

/// Lets requests and their upstreams through, and of other spans those within a traced request.
pub fn filter<S>() -> impl Filter<S> + Send + Sync + 'static
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let wanted = |metadata: &Metadata<'_>, context: &Context<'_, S>| {
        metadata.target() == TARGET
            && (metadata.name() != "transaction" || context.lookup_current().is_some())
    };
    let filter: DynFilterFn<S, _> = dynamic_filter_fn(wanted);
    filter
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let began = self.clock.now();
        let mut ended = Ended { name: span.name(), kind: 1, began, ..Ended::default() };
        attributes.record(&mut ended);
        if let Some(parent) = span.parent()
            && let Some(parent) = parent.extensions().get::<Ended>()
        {
            (ended.trace, ended.under) = (parent.trace, parent.id);
        }
        if ended.trace == 0 {
            return;
        }
        if ended.id == 0 {
            ended.id = self.fresh_id();
        }
        span.extensions_mut().insert(ended);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(ended) = span.extensions_mut().get_mut::<Ended>()
        {
            record.record(ended);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(mut ended) = span.extensions_mut().remove::<Ended>() else { return };
        ended.ended = self.clock.now();
        if self.queue.try_send(ended).is_err() {
            self.meters.dropped.inc();
        }
    }
}

impl Spans {
    /// Ids within one run: a counter, well mixed (splitmix64), from a random start.
    fn fresh_id(&self) -> u64 {
        let count = self.made.fetch_add(1, Ordering::Relaxed);
        let mixed = self.seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).max(1)
    }
}

impl Visit for Ended {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "id" => self.id = value,
            "under" => self.under = value,
            "status" => self.status = Some(value),
            _ => {}
        }
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        if field.name() == "trace" {
            self.trace = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let value = Some(value.to_owned());
        match field.name() {
            "kind" if value.as_deref() == Some("server") => self.kind = 2,
            "kind" => self.kind = 3,
            "method" => self.method = value,
            "route" => self.route = value,
            "upstream" => self.upstream = value,
            _ => {}
        }
    }

    /// Nothing that is only printed is sent: it might hold more than was meant.
    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

fn text_of(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

impl Ended {
    fn json(&self) -> Value {
        let mut attributes = Vec::new();
        let named = [
            ("http.request.method", &self.method),
            ("stagedoor.route", &self.route),
            ("stagedoor.upstream", &self.upstream),
        ];
        for (key, value) in named {
            attributes.extend(value.as_ref().map(|value| text_of(key, value)));
        }
        if let Some(status) = self.status {
            let value = json!({ "intValue": status.to_string() });
            attributes.push(json!({ "key": "http.response.status_code", "value": value }));
        }
        let name = match (&self.method, &self.route) {
            (Some(method), Some(route)) => format!("{method} {route}"),
            _ => self.name.to_owned(),
        };
        let failed = self.status.is_some_and(|status| status >= 500);
        let nanos = |at: Timestamp| (i128::from(at.micros()) * 1_000).to_string();
        let mut span = json!({
            "traceId": format!("{:032x}", self.trace),
            "spanId": format!("{:016x}", self.id),
            "name": name,
            "kind": self.kind,
            "startTimeUnixNano": nanos(self.began),
            "endTimeUnixNano": nanos(self.ended.max(self.began)),
            "attributes": attributes,
            "status": if failed { json!({ "code": 2 }) } else { json!({}) },
        });
        if let (Value::Object(fields), true) = (&mut span, self.under != 0) {
            fields.insert("parentSpanId".to_owned(), json!(format!("{:016x}", self.under)));
        }
        span
    }
}

impl Exporter {
    /// What became of spans.
    #[must_use]
    pub fn meters(&self) -> Arc<TraceMeters> {
        Arc::clone(&self.meters)
    }

    /// Sends spans until `stop`; then once what waits.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let is_over = stop.is_cancelled();
            if is_over {
                self.queue.close();
            }
            let many = self.queue.recv_many(&mut batch, BATCH);
            tokio::select! {
                many = many => if many == 0 { return },
                () = stop.cancelled(), if !is_over => continue,
            }
            self.send(&batch, &stop).await;
            batch.clear();
            if !is_over {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(GATHER) => {}
                }
            }
        }
    }

    async fn send(&self, batch: &[Ended], stop: &CancellationToken) {
        let many = u64::try_from(batch.len()).unwrap_or(0);
        let spans: Vec<Value> = batch.iter().map(Ended::json).collect();
        let body = json!({ "resourceSpans": [{
            "resource": self.resource,
            "scopeSpans": [{ "scope": { "name": "stagedoor" }, "spans": spans }],
        }]});
        let body = Bytes::from(body.to_string());
        let mut retry = FIRST_RETRY;
        for tries in 1..=TRIES {
            match self.offer(body.clone()).await {
                Ok(()) => return self.meters.sent.add(many),
                Err(error) if tries == TRIES || stop.is_cancelled() => {
                    tracing::warn!(%error, spans = many, "the collector does not take spans");
                    break;
                }
                Err(_) => {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(retry) => {}
                    }
                    retry *= 2;
                }
            }
        }
        self.meters.dropped.add(many);
    }

    async fn offer(&self, body: Bytes) -> Result<(), Error> {
        let (status, _) = self.outbound.post("application/json", body).await?;
        if status.is_success() { Ok(()) } else { Err(Error::away(format!("it answers {status}"))) }
    }
}

#[cfg(test)]
mod tests {
    use kernel::{SystemClock, SystemEntropy};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn gathered(made: impl FnOnce()) -> Vec<Value> {
        let outbound = Outbound::new("http://127.0.0.1:1/", None).unwrap();
        let (spans, mut exporter) = queue(outbound, &[], Arc::new(SystemClock), &SystemEntropy);
        let subscriber = tracing_subscriber::registry().with(spans.with_filter(filter()));
        tracing::subscriber::with_default(subscriber, made);
        std::iter::from_fn(|| exporter.queue.try_recv().ok()).map(|span| span.json()).collect()
    }

    #[test]
    fn a_request_and_what_is_within_are_one_trace() {
        let spans = gathered(|| {
            let request = tracing::info_span!(
                target: TARGET, parent: None, "request", kind = "server", trace = 7_u128,
                id = 9_u64, under = 0_u64, method = "GET", route = tracing::field::Empty,
                status = tracing::field::Empty,
            );
            request.in_scope(|| tracing::info_span!(target: TARGET, "transaction"));
            request.record("route", "shop");
            request.record("status", 502_u16);
        });
        let [transaction, request] = &spans[..] else { panic!("{spans:?}") };
        let trace = "00000000000000000000000000000007";
        assert_eq!((&transaction["traceId"], &request["traceId"]), (&json!(trace), &json!(trace)));
        assert_eq!(transaction["parentSpanId"], request["spanId"]);
        assert_eq!(request["name"], "GET shop");
        assert_eq!(request["status"]["code"], 2);
        assert!(request.get("parentSpanId").is_none());
    }

    // O4
    #[test]
    fn outside_a_traced_request_nothing_is_gathered() {
        let spans = gathered(|| {
            tracing::info_span!(target: TARGET, "transaction").in_scope(|| ());
            tracing::info_span!("request", trace = 7_u128).in_scope(|| ());
        });
        assert_eq!(spans, Vec::<Value>::new());
    }

    // O4
    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let outbound = Outbound::new("http://127.0.0.1:1/", None).unwrap();
        let (spans, exporter) = queue(outbound, &[], Arc::new(SystemClock), &SystemEntropy);
        let subscriber = tracing_subscriber::registry().with(spans.with_filter(filter()));
        tracing::subscriber::with_default(subscriber, || {
            for id in 1..=5_000_u64 {
                drop(
                    tracing::info_span!(target: TARGET, parent: None, "request", trace = 7_u128, id),
                );
            }
        });
        assert_eq!(exporter.meters().dropped(), 5_000 - 4_096);
    }
}
