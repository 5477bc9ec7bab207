//! `/metrics`: every figure that is counted, in the OpenMetrics text format, which Prometheus reads as its own.
//!
//! The families are a list of values, made from the tables of `base::counters`: the page and its reference are two
//! renderings of it, so none can be missing from one of them. Shards are summed unless a family has the label `shard`.

use std::borrow::Cow;
use std::fmt::Error;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use crate::base::asked::AskOutcome;
use crate::base::counters::{Cells, Kind, ReaderCells, ShardCells, ShardCounters};
use crate::base::disconnect::Disconnect;
use crate::base::histogram::BOUNDS_NANOS;
use crate::base::queue::GapReason;
use crate::base::refusal::Refusal;
use crate::base::version::{REVISION, VERSION};
use crate::driver::admin::AdminPages;
use crate::driver::admin::process::Process;
use crate::driver::keys::KeyBoard;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One name on the page.
#[derive(Debug)]
pub(super) struct Family {
    /// Without the suffix that the type brings, `_total` or `_info`.
    name: Cow<'static, str>,
    pub(super) help: &'static str,
    shape: Shape,
    source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Counter,
    Gauge,
    Histogram,
    Info,
}

/// Where a family's figures come from.
#[derive(Debug, Clone, Copy)]
enum Source {
    BuildInfo,
    /// A row of `ShardCells`, summed over the shards.
    Shards {
        index: usize,
        by_protocol: bool,
    },
    Connections {
        index: usize,
    },
    /// A row of `ReaderCells`.
    Reader {
        index: usize,
    },
    /// A row of `ReaderCells` that counts milliseconds.
    ReaderSeconds {
        index: usize,
    },
    QueueBytes,
    Disconnects,
    Refusals,
    Gaps,
    Questions,
    DeliveryLag,
    DroppedLogLines,
    Keys(fn(&KeyBoard) -> &AtomicU64),
    Process(fn(&Process) -> Option<Number>),
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Whole(u64),
    Real(f64),
}

/// A figure and its labels.
type Sample = (Vec<(&'static str, Cow<'static, str>)>, Number);

pub(super) fn render(pages: &AdminPages) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape::new(pages)));
    let mut page = String::with_capacity(PAGE_BYTES);
    text::encode(&mut page, &registry).expect("a String takes everything, and the figures are plain values");
    page
}

/// Every family, in the order of the page.
pub(super) fn families() -> Vec<Family> {
    let own = |name, help, shape, source| Family { name: Cow::Borrowed(name), help, shape, source };
    let mut families = vec![own(
        "courier_build",
        "Always 1; which courier this is, and what carries its bytes.",
        Shape::Info,
        Source::BuildInfo,
    )];
    families.extend(ShardCells::METRICS.iter().enumerate().map(|(index, metric)| Family {
        name: Cow::Owned(format!("courier_{}", metric.name)),
        help: metric.help,
        shape: shape(metric.kind),
        source: match metric.name {
            "connections" => Source::Connections { index },
            name => Source::Shards { index, by_protocol: name == "frames_encoded" },
        },
    }));
    families.extend(ReaderCells::METRICS.iter().enumerate().map(|(index, metric)| {
        let seconds = metric.name.strip_suffix("_milliseconds");
        Family {
            name: match seconds {
                Some(name) => Cow::Owned(format!("courier_{name}_seconds")),
                None => Cow::Owned(format!("courier_{}", metric.name)),
            },
            help: metric.help,
            shape: shape(metric.kind),
            source: match seconds {
                Some(_) => Source::ReaderSeconds { index },
                None => Source::Reader { index },
            },
        }
    }));
    families.extend([
        own(
            "courier_queue_bytes",
            "Bytes on the way from the reader to a shard.",
            Shape::Gauge,
            Source::QueueBytes,
        ),
        own("courier_disconnects", "Connections that ended, by why.", Shape::Counter, Source::Disconnects),
        own("courier_refusals", "Requests that were refused, by why.", Shape::Counter, Source::Refusals),
        own(
            "courier_gaps",
            "Gaps that subscribers were told of, by why: each counts once for each subscriber and channel.",
            Shape::Counter,
            Source::Gaps,
        ),
        own(
            "courier_callback_questions",
            "Questions that an application was asked, by what became of them.",
            Shape::Counter,
            Source::Questions,
        ),
        own(
            "courier_delivery_lag_seconds",
            "From receiving a message to handing it to the sockets: one sample for each flush of a channel.",
            Shape::Histogram,
            Source::DeliveryLag,
        ),
        own(
            "courier_log_lines_dropped",
            "Lines of the log that were lost because nobody read stderr.",
            Shape::Counter,
            Source::DroppedLogLines,
        ),
        own(
            "courier_key_reloads",
            "Files with keys that were read again because they had changed.",
            Shape::Counter,
            Source::Keys(|keys| &keys.reloads),
        ),
        own(
            "courier_key_failures",
            "Times that a file with keys turned out to be gone or to hold none; the old keys hold on.",
            Shape::Counter,
            Source::Keys(|keys| &keys.failures),
        ),
    ]);
    families.extend(process_families());
    families
}

impl Family {
    /// As a query names it.
    pub(super) fn sample_name(&self) -> String {
        match self.shape {
            Shape::Counter => format!("{}_total", self.name),
            Shape::Info => format!("{}_info", self.name),
            Shape::Gauge | Shape::Histogram => self.name.clone().into_owned(),
        }
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self.shape {
            Shape::Counter => "counter",
            Shape::Gauge | Shape::Info => "gauge",
            Shape::Histogram => "histogram",
        }
    }

    pub(super) fn labels(&self) -> &'static [&'static str] {
        match self.source {
            Source::BuildInfo => &["version", "revision", "driver"],
            Source::Connections { .. } => &["protocol", "shard"],
            Source::Shards { by_protocol: true, .. } => &["protocol"],
            Source::QueueBytes => &["shard"],
            Source::Disconnects | Source::Refusals | Source::Gaps => &["reason"],
            Source::Questions => &["outcome"],
            Source::Shards { by_protocol: false, .. }
            | Source::Reader { .. }
            | Source::ReaderSeconds { .. }
            | Source::DeliveryLag
            | Source::DroppedLogLines
            | Source::Keys(_)
            | Source::Process(_) => &[],
        }
    }

    fn metric_type(&self) -> MetricType {
        match self.shape {
            Shape::Counter => MetricType::Counter,
            Shape::Gauge => MetricType::Gauge,
            Shape::Histogram => MetricType::Histogram,
            Shape::Info => MetricType::Info,
        }
    }
}

/// The names and meanings that Prometheus's own clients use.
fn process_families() -> [Family; 6] {
    let family = |name, help, shape, read| Family {
        name: Cow::Borrowed(name),
        help,
        shape,
        source: Source::Process(read),
    };
    [
        family("process_cpu_seconds", "User and system CPU time.", Shape::Counter, |process| {
            process.cpu_seconds.map(Number::Real)
        }),
        family("process_resident_memory_bytes", "Resident memory.", Shape::Gauge, |process| {
            process.resident_bytes.map(Number::Whole)
        }),
        family("process_virtual_memory_bytes", "Virtual memory.", Shape::Gauge, |process| {
            process.virtual_bytes.map(Number::Whole)
        }),
        family(
            "process_open_fds",
            "Open file descriptors; the sockets of clients lie in the rings' own tables.",
            Shape::Gauge,
            |process| process.open_descriptors.map(Number::Whole),
        ),
        family("process_max_fds", "The limit of open file descriptors.", Shape::Gauge, |process| {
            process.most_descriptors.map(Number::Whole)
        }),
        family(
            "process_start_time_seconds",
            "When the process started, in Unix time.",
            Shape::Gauge,
            |process| process.start_seconds.map(Number::Real),
        ),
    ]
}

const fn shape(kind: Kind) -> Shape {
    match kind {
        Kind::Counter => Shape::Counter,
        Kind::Gauge => Shape::Gauge,
    }
}

/// What one scrape sees. Cells go on counting meanwhile; each figure is right for some moment of the scrape.
#[derive(Debug)]
struct Scrape {
    shards: std::sync::Arc<Vec<std::sync::Arc<ShardCounters>>>,
    /// Of each shard, in the order of its table.
    shard_values: Vec<[u64; ShardCells::METRICS.len()]>,
    reader_values: [u64; ReaderCells::METRICS.len()],
    driver: &'static str,
    dropped_log_lines: u64,
    keys: Option<std::sync::Arc<KeyBoard>>,
    process: Process,
}

impl Scrape {
    fn new(pages: &AdminPages) -> Self {
        Self {
            shards: pages.shards.clone(),
            shard_values: pages.shards.iter().map(|shard| shard.cells.values()).collect(),
            reader_values: pages.reader.cells.values(),
            driver: pages.driver,
            dropped_log_lines: pages.dropped_log_lines(),
            keys: pages.keys.clone(),
            process: Process::read(),
        }
    }

    fn samples(&self, source: Source) -> Vec<Sample> {
        let plain = |number| vec![(Vec::new(), number)];
        match source {
            Source::Connections { index } => {
                let sample = |(shard, values): (usize, &[u64; ShardCells::METRICS.len()])| {
                    let labels =
                        vec![("protocol", Cow::Borrowed(PROTOCOL)), ("shard", Cow::Owned(shard.to_string()))];
                    (labels, Number::Whole(values[index]))
                };
                self.shard_values.iter().enumerate().map(sample).collect()
            }
            Source::Shards { index, by_protocol } => {
                let sum = Number::Whole(self.shard_values.iter().map(|values| values[index]).sum());
                if by_protocol { vec![(vec![("protocol", PROTOCOL.into())], sum)] } else { plain(sum) }
            }
            Source::Reader { index } => plain(Number::Whole(self.reader_values[index])),
            Source::ReaderSeconds { index } => {
                plain(Number::Real(self.reader_values[index] as f64 / 1_000.0))
            }
            Source::QueueBytes => {
                let sample = |(shard, counters): (usize, &std::sync::Arc<ShardCounters>)| {
                    let labels = vec![("shard", Cow::Owned(shard.to_string()))];
                    (labels, Number::Whole(counters.queue_bytes.load(Ordering::Relaxed)))
                };
                self.shards.iter().enumerate().map(sample).collect()
            }
            Source::Disconnects => {
                let names = Disconnect::ALL.iter().map(|reason| reason.name());
                self.by_label("reason", names, |shard| &shard.disconnects)
            }
            Source::Refusals => {
                let names = Refusal::ALL.iter().map(|reason| reason.code());
                self.by_label("reason", names, |shard| &shard.refusals)
            }
            Source::Gaps => {
                let names = GapReason::ALL.iter().map(|reason| reason.name());
                self.by_label("reason", names, |shard| &shard.gaps)
            }
            Source::Questions => {
                let names = AskOutcome::ALL.iter().map(|outcome| outcome.name());
                self.by_label("outcome", names, |shard| &shard.questions)
            }
            Source::DroppedLogLines => plain(Number::Whole(self.dropped_log_lines)),
            Source::Keys(count) => {
                let count = self.keys.as_deref().map_or(0, |keys| count(keys).load(Ordering::Relaxed));
                plain(Number::Whole(count))
            }
            Source::Process(read) => read(&self.process).map_or_else(Vec::new, plain),
            Source::BuildInfo | Source::DeliveryLag => Vec::new(),
        }
    }

    fn by_label<const COUNT: usize>(
        &self,
        label: &'static str,
        names: impl Iterator<Item = &'static str>,
        cells: impl Fn(&ShardCounters) -> &Cells<COUNT>,
    ) -> Vec<Sample> {
        let sum = |index: usize| self.shards.iter().map(|shard| cells(shard)[index].get()).sum();
        names
            .enumerate()
            .map(|(index, name)| (vec![(label, name.into())], Number::Whole(sum(index))))
            .collect()
    }

    /// Buckets over all shards, as the encoder wants them: not cumulative, bounds in seconds.
    fn encode_lag(&self, mut encoder: MetricEncoder<'_>) -> Result<(), Error> {
        let bounds = BOUNDS_NANOS.iter().map(|nanos| *nanos as f64 / 1e9).chain([f64::INFINITY]);
        let mut buckets: Vec<(f64, u64)> = bounds.map(|bound| (bound, 0)).collect();
        let mut sum_nanos = 0u64;
        for shard in self.shards.iter() {
            let (counts, sum) = shard.delivery_lag.snapshot();
            for (bucket, count) in buckets.iter_mut().zip(counts) {
                bucket.1 += count;
            }
            sum_nanos = sum_nanos.saturating_add(sum);
        }
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram(sum_nanos as f64 / 1e9, count, &buckets, NO_EXEMPLARS)
    }

    fn encode_build(&self, mut encoder: MetricEncoder<'_>) -> Result<(), Error> {
        encoder.encode_info(&[("version", VERSION), ("revision", REVISION), ("driver", self.driver)])
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        for family in families() {
            let mut metric =
                encoder.encode_descriptor(&family.name, family.help, None, family.metric_type())?;
            match family.source {
                Source::BuildInfo => self.encode_build(metric)?,
                Source::DeliveryLag => self.encode_lag(metric)?,
                source => {
                    for (labels, number) in self.samples(source) {
                        encode_sample(&mut metric, family.shape, &labels, number)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn encode_sample(
    metric: &mut MetricEncoder<'_>,
    shape: Shape,
    labels: &[(&'static str, Cow<'static, str>)],
    number: Number,
) -> Result<(), Error> {
    if labels.is_empty() {
        return encode_number(metric, shape, number);
    }
    encode_number(&mut metric.encode_family(&labels)?, shape, number)
}

fn encode_number(metric: &mut MetricEncoder<'_>, shape: Shape, number: Number) -> Result<(), Error> {
    match (shape, number) {
        (Shape::Counter, Number::Whole(number)) => metric.encode_counter(&number, NO_EXEMPLAR),
        (Shape::Counter, Number::Real(number)) => metric.encode_counter(&number, NO_EXEMPLAR),
        (Shape::Gauge | Shape::Histogram | Shape::Info, Number::Whole(number)) => {
            metric.encode_gauge(&number)
        }
        (Shape::Gauge | Shape::Histogram | Shape::Info, Number::Real(number)) => metric.encode_gauge(&number),
    }
}

type Labels = [(&'static str, &'static str); 0];

const NO_EXEMPLAR: Option<&Exemplar<Labels, u64>> = None;
const NO_EXEMPLARS: Option<&std::collections::HashMap<usize, Exemplar<Labels, f64>>> = None;

/// The value of the label `protocol`: there is one protocol.
const PROTOCOL: &str = "sse";

/// Room for a page of a few shards without growing.
const PAGE_BYTES: usize = 32 * 1_024;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::base::counters::ReaderCounters;
    use crate::base::time::Time;
    use crate::protocol::admin::AdminPage;

    fn page() -> String {
        let shards = Arc::new(vec![Arc::new(ShardCounters::default()), Arc::new(ShardCounters::default())]);
        let reader = Arc::new(ReaderCounters::default());
        shards[0].cells.connections.set(3);
        shards[1].cells.connections.set(4);
        shards[0].cells.messages_delivered.set(10);
        shards[1].cells.messages_delivered.set(20);
        shards[1].queue_bytes.store(77, Ordering::Relaxed);
        shards[0].disconnect(Disconnect::Lagged);
        shards[1].disconnect(Disconnect::Lagged);
        shards[0].refusal(Refusal::HeadTooLarge);
        shards[1].gap(GapReason::TooOld, 1);
        shards[0].delivery_lag.record(Duration::from_micros(60));
        shards[1].delivery_lag.record(Duration::from_secs(11));
        reader.cells.redis_up.set(1);
        reader.cells.redis_outage_milliseconds.set(1_500);
        let pages = AdminPages::new(shards, reader, "io_uring", None);
        let answer = pages.answer(Time::ZERO, AdminPage::Metrics);
        assert_eq!((answer.status, answer.content_type), (200, CONTENT_TYPE));
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    /// A parser of the format, strict about what a scraper would refuse: (family -> type), (sample -> value).
    fn parse(page: &str) -> (BTreeMap<String, String>, BTreeMap<String, f64>) {
        let (mut types, mut samples) = (BTreeMap::new(), BTreeMap::new());
        let mut helped = BTreeSet::new();
        let mut current = String::new();
        let body = page.strip_suffix("# EOF\n").expect("the page is complete");
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a sentence");
                assert!(helped.insert(name.to_owned()) && !help.is_empty(), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} appears twice");
                current = name.to_owned();
            } else {
                let (name, value) = line.rsplit_once(' ').expect(line);
                let bare = name.split('{').next().unwrap();
                let suffixes: &[&str] = match types[&current].as_str() {
                    "counter" => &["_total"],
                    "info" => &["_info"],
                    "histogram" => &["_sum", "_count", "_bucket"],
                    "gauge" => &[""],
                    kind => panic!("{kind}"),
                };
                assert!(suffixes.iter().any(|suffix| bare == format!("{current}{suffix}")), "{line}");
                assert!(samples.insert(name.to_owned(), value.parse().expect(line)).is_none(), "{name}");
            }
        }
        (types, samples)
    }

    #[test]
    fn figures_are_summed_or_labelled_as_the_names_say() {
        let (_, samples) = parse(&page());
        for (name, value) in [
            ("courier_connections{protocol=\"sse\",shard=\"0\"}", 3.0),
            ("courier_connections{protocol=\"sse\",shard=\"1\"}", 4.0),
            ("courier_messages_delivered_total", 30.0),
            ("courier_frames_encoded_total{protocol=\"sse\"}", 0.0),
            ("courier_queue_bytes{shard=\"1\"}", 77.0),
            ("courier_disconnects_total{reason=\"lagged\"}", 2.0),
            ("courier_refusals_total{reason=\"head-too-large\"}", 1.0),
            ("courier_gaps_total{reason=\"too-old\"}", 1.0),
            ("courier_redis_up", 1.0),
            ("courier_redis_outage_seconds_total", 1.5),
            ("courier_delivery_lag_seconds_count", 2.0),
            ("courier_delivery_lag_seconds_bucket{le=\"0.00005\"}", 0.0),
            ("courier_delivery_lag_seconds_bucket{le=\"0.0001\"}", 1.0),
            ("courier_delivery_lag_seconds_bucket{le=\"10.0\"}", 1.0),
            ("courier_delivery_lag_seconds_bucket{le=\"+Inf\"}", 2.0),
            ("courier_delivery_lag_seconds_sum", 11.00006),
            ("courier_log_lines_dropped_total", 0.0),
        ] {
            assert_eq!(samples.get(name), Some(&value), "{name}");
        }
        let build = format!(
            "courier_build_info{{version=\"{VERSION}\",revision=\"{REVISION}\",driver=\"io_uring\"}}"
        );
        assert_eq!(samples.get(&build), Some(&1.0));
    }

    #[test]
    fn every_row_of_the_tables_is_exposed_exactly_once() {
        let (types, samples) = parse(&page());
        assert_eq!(types.len(), families().len());
        let mut expected = BTreeSet::new();
        for metric in ShardCells::METRICS.iter().chain(ReaderCells::METRICS) {
            let name = match metric.name.strip_suffix("_milliseconds") {
                Some(name) => format!("courier_{name}_seconds"),
                None => format!("courier_{}", metric.name),
            };
            let kind = if metric.kind == Kind::Counter { "counter" } else { "gauge" };
            assert_eq!(types.get(&name).map(String::as_str), Some(kind), "{name}");
            assert!(expected.insert(name.clone()), "{name} is in two tables");
        }
        for (family, count) in [
            ("courier_disconnects_total{", Disconnect::ALL.len()),
            ("courier_refusals_total{", Refusal::ALL.len()),
            ("courier_gaps_total{", GapReason::ALL.len()),
            ("courier_callback_questions_total{", AskOutcome::ALL.len()),
            ("courier_delivery_lag_seconds_bucket{", BOUNDS_NANOS.len() + 1),
        ] {
            assert_eq!(samples.keys().filter(|name| name.starts_with(family)).count(), count, "{family}");
        }
    }

    #[test]
    fn names_that_dashboards_rely_on_are_there() {
        let (_, samples) = parse(&page());
        let names: BTreeSet<&str> = samples.keys().filter_map(|name| name.split('{').next()).collect();
        for name in [
            "courier_build_info",
            "courier_connections",
            "courier_subscriptions",
            "courier_channels",
            "courier_connections_accepted_total",
            "courier_disconnects_total",
            "courier_refusals_total",
            "courier_messages_received_total",
            "courier_messages_delivered_total",
            "courier_received_bytes_total",
            "courier_sent_bytes_total",
            "courier_frames_encoded_total",
            "courier_flushes_total",
            "courier_sends_total",
            "courier_queue_bytes",
            "courier_gaps_total",
            "courier_redis_up",
            "courier_redis_reconnects_total",
            "courier_redis_failed_attempts_total",
            "courier_redis_outage_seconds_total",
            "courier_delivery_lag_seconds_bucket",
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
        ] {
            assert!(names.contains(name), "{name}");
        }
    }
}
