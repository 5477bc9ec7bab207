//! `/stats`: the same figures as `/metrics`, shard by shard, as one JSON object for people and scripts.

use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use crate::base::counters::{Cells, Metric, ReaderCells, ShardCells, ShardCounters};
use crate::base::disconnect::Disconnect;
use crate::base::queue::GapReason;
use crate::base::refusal::Refusal;
use crate::base::version::{REVISION, VERSION};
use crate::driver::admin::AdminPages;

pub(super) fn render(pages: &AdminPages) -> String {
    let shards: Vec<Value> =
        pages.shards.iter().enumerate().map(|(index, shard)| one_shard(index, shard)).collect();
    let page = json!({
        "version": VERSION,
        "revision": REVISION,
        "driver": pages.driver,
        "log_lines_dropped": pages.dropped_log_lines(),
        "reader": cells(ReaderCells::METRICS, &pages.reader.cells.values()),
        "shards": shards,
    });
    page.to_string() + "\n"
}

fn one_shard(index: usize, shard: &ShardCounters) -> Value {
    let mut figures = cells(ShardCells::METRICS, &shard.cells.values());
    let (buckets, sum_nanos) = shard.delivery_lag.snapshot();
    let samples: u64 = buckets.iter().sum();
    let lag = json!({ "samples": samples, "sum_seconds": sum_nanos as f64 / 1e9 });
    figures.insert("shard".into(), index.into());
    figures.insert("queue_bytes".into(), shard.queue_bytes.load(Ordering::Relaxed).into());
    figures.insert("delivery_lag".into(), lag);
    let disconnects = Disconnect::ALL.iter().map(|reason| reason.name());
    figures.insert("disconnects".into(), by_reason(disconnects, &shard.disconnects));
    figures.insert(
        "refusals".into(),
        by_reason(Refusal::ALL.iter().map(|reason| reason.code()), &shard.refusals),
    );
    figures.insert("gaps".into(), by_reason(GapReason::ALL.iter().map(|reason| reason.name()), &shard.gaps));
    Value::Object(figures)
}

fn cells(table: &[Metric], values: &[u64]) -> Map<String, Value> {
    table.iter().zip(values).map(|(metric, value)| (metric.name.to_owned(), (*value).into())).collect()
}

/// Only the reasons that occurred.
fn by_reason<const COUNT: usize>(names: impl Iterator<Item = &'static str>, cells: &Cells<COUNT>) -> Value {
    let counts = names.enumerate().map(|(index, name)| (name.to_owned(), cells[index].get()));
    Value::Object(counts.filter(|(_, count)| *count > 0).map(|(name, count)| (name, count.into())).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::counters::ReaderCounters;
    use crate::base::time::Time;
    use crate::protocol::admin::AdminPage;

    #[test]
    fn each_shard_has_its_own_figures() {
        let shards = Arc::new(vec![Arc::new(ShardCounters::default()), Arc::new(ShardCounters::default())]);
        shards[1].cells.connections.set(5);
        shards[1].disconnect(Disconnect::ClientReset);
        shards[1].queue_bytes.store(9, Ordering::Relaxed);
        let reader = Arc::new(ReaderCounters::default());
        reader.cells.messages_received.set(7);
        let pages = AdminPages::new(shards, reader, "io_uring", None);
        let answer = pages.answer(Time::ZERO, AdminPage::Stats);
        assert_eq!((answer.status, answer.content_type), (200, "application/json"));
        let page: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(page["version"], VERSION);
        assert_eq!(page["reader"]["messages_received"], 7);
        assert_eq!(page["shards"][0]["connections"], 0);
        assert_eq!(page["shards"][1]["connections"], 5);
        assert_eq!(page["shards"][1]["queue_bytes"], 9);
        assert_eq!(page["shards"][1]["disconnects"], json!({ "client-reset": 1 }));
        assert_eq!(page["shards"][1]["gaps"], json!({}));
    }
}
