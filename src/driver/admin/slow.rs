//! `/slow`: who reads slowly, of all shards, as one JSON object.

use serde_json::{Value, json};

use crate::driver::admin::answer;
use crate::driver::survey::{Found, SlowReader};
use crate::shard::input::AdminAnswer;

/// The page that says who was found.
pub fn page(found: &Found) -> AdminAnswer {
    let laggards: Vec<Value> = found.worst.iter().map(laggard).collect();
    answer(200, "application/json", json!({ "count": found.count, "laggards": laggards }).to_string() + "\n")
}

fn laggard(reader: &SlowReader) -> Value {
    let mut channels: Vec<&str> = reader.channels.iter().map(|name| name.as_str()).collect();
    channels.sort_unstable();
    json!({
        "shard": reader.shard.0,
        "peer": reader.peer,
        "channels": channels,
        "lag_bytes": reader.bytes,
        "lag_seconds": (reader.lag.as_secs_f64() * 1e3).round() / 1e3,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::channel::ChannelName;
    use crate::base::queue::ShardIndex;

    #[test]
    fn a_slow_reader_is_shown_with_its_peer_its_channels_and_its_lag() {
        let reader = SlowReader {
            shard: ShardIndex(1),
            peer: Some("[::1]:4242".into()),
            channels: ["b", "a"].map(|name| ChannelName::parse(name.as_bytes()).unwrap()).to_vec(),
            bytes: 1_234,
            lag: Duration::from_micros(2_500_400),
        };
        let found = Found { count: 9, worst: vec![reader.clone(), SlowReader { peer: None, ..reader }] };
        let answer = page(&found);
        let shown: Value = serde_json::from_slice(&answer.body).unwrap();
        let first = json!({
            "shard": 1, "peer": "[::1]:4242", "channels": ["a", "b"], "lag_bytes": 1_234, "lag_seconds": 2.5
        });
        assert_eq!((&shown["count"], &shown["laggards"][0]), (&json!(9), &first));
        assert_eq!(shown["laggards"][1]["peer"], Value::Null);
    }
}
