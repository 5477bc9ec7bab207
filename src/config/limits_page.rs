//! The page `docs/reference/limits.md`: what each limit shows itself by. What happens at it is said by its option.

use std::fmt::Write;

use crate::config::table::{Group, Key, Row};

/// The page.
pub fn limits_page() -> String {
    let mut text = String::from(HEAD);
    for row in limits() {
        let key = row.file_key.unwrap_or_default();
        let default = row.default.unwrap_or_default();
        let metrics: Vec<_> = metrics(row.key).iter().map(|metric| format!("`{metric}`")).collect();
        let _ = writeln!(
            text,
            "| `{key}` | `{default}` | {} | {} |",
            row.help.replace('|', "\\|"),
            metrics.join(", ")
        );
    }
    text + TAIL
}

/// The options that bound something.
fn limits() -> impl Iterator<Item = &'static Row> {
    let bounds = |row: &&Row| {
        let key = row.file_key.unwrap_or_default();
        key.starts_with("limits.") || row.key == Key::Lifetime
    };
    Group::Limits.rows().filter(bounds)
}

/// What is counted at the limit, or of what it bounds; each as `/metrics` has it. Every limit has one.
fn metrics(key: Key) -> &'static [&'static str] {
    match METRICS.iter().find(|(limit, _)| *limit == key) {
        Some((_, metrics)) => metrics,
        None => &[],
    }
}

const METRICS: &[(Key, &[&str])] = &[
    (Key::Lifetime, &["courier_disconnects_total{reason=\"lifetime\"}"]),
    (Key::LimitsHeadBytes, &["courier_refusals_total{reason=\"head-too-large\"}"]),
    (Key::LimitsHeadFields, &["courier_refusals_total{reason=\"head-too-large\"}"]),
    (Key::LimitsHeadTimeout, &["courier_disconnects_total{reason=\"head-timeout\"}"]),
    (Key::LimitsIdleTimeout, &["courier_disconnects_total{reason=\"idle-timeout\"}"]),
    (
        Key::LimitsConnections,
        &["courier_connections", "courier_disconnects_total{reason=\"connection-limit\"}"],
    ),
    (Key::LimitsConnectionsPerAddress, &["courier_disconnects_total{reason=\"address-limit\"}"]),
    (Key::LimitsStreamsPerUser, &["courier_disconnects_total{reason=\"user-limit\"}"]),
    (Key::LimitsAcceptRate, &["courier_connections_accepted_total", "courier_accept_rests_total"]),
    (
        Key::LimitsConnectionsPerShard,
        &["courier_connections", "courier_disconnects_total{reason=\"connection-limit\"}"],
    ),
    (
        Key::LimitsLagBytes,
        &[
            "courier_log_bytes",
            "courier_disconnects_total{reason=\"lagged\"}",
            "courier_gaps_total{reason=\"lagged\"}",
        ],
    ),
    (
        Key::LimitsLogBytes,
        &[
            "courier_log_bytes",
            "courier_disconnects_total{reason=\"lagged\"}",
            "courier_gaps_total{reason=\"lagged\"}",
        ],
    ),
    (Key::LimitsTailBytes, &["courier_tail_bytes", "courier_disconnects_total{reason=\"tail-limit\"}"]),
    (Key::LimitsSendBufferBytes, &["courier_short_sends_total"]),
    (Key::LimitsQueueBytes, &["courier_queue_bytes"]),
    (Key::LimitsSpillBytes, &["courier_spill_bytes", "courier_gaps_total{reason=\"queue-full\"}"]),
    (Key::LimitsHistoryBytes, &["courier_history_bytes"]),
    (
        Key::LimitsChannels,
        &["courier_upstream_channels", "courier_disconnects_total{reason=\"channel-limit\"}"],
    ),
    (
        Key::LimitsChannelsPerShard,
        &["courier_channels", "courier_disconnects_total{reason=\"channel-limit\"}"],
    ),
    (Key::LimitsChannelsPerConnection, &["courier_refusals_total{reason=\"too-many-channels\"}"]),
    (Key::LimitsMessageBytes, &["courier_refusals_total{reason=\"payload-too-large\"}"]),
    (Key::LimitsPublishRate, &["courier_refusals_total{reason=\"publish-rate\"}"]),
    (Key::LimitsPublishRatePerClient, &["courier_refusals_total{reason=\"publish-rate\"}"]),
    (Key::LimitsCallbackInFlight, &["courier_callback_in_flight", "courier_callback_waiting"]),
    (
        Key::LimitsCallbackWaiting,
        &["courier_callback_waiting", "courier_disconnects_total{reason=\"application-unavailable\"}"],
    ),
    (Key::LimitsCallbackAnswerBytes, &["courier_callback_questions_total"]),
    (Key::LimitsCallbackCacheBytes, &["courier_callback_cache_bytes"]),
    (Key::LimitsBrokerMemoryBytes, &["courier_broker_memory_bytes"]),
    (Key::LimitsBrokerClients, &["courier_broker_clients"]),
];

const HEAD: &str = "\
# Limits

<!-- Made from the table of options and src/config/limits_page.rs: make reference. -->

Everything that can grow has a bound. At a bound of connections, streams, channels or requests the new is refused and the old
stays. What is kept of messages and answers gives way instead:

- At `limits.lag_bytes` and `limits.log_bytes` who is too far behind is closed or skips, as `slow` of the channel says; at
  `limits.tail_bytes` the connection with the most is closed. Whoever is closed may resume.
- At `limits.spill_bytes` clients are told of a gap.
- At `limits.history_bytes` the channel with the oldest message loses its history; at `limits.callback_cache_bytes` the answer
  that ends first goes.

How a client that is refused is told depends on what it asked for:

- A stream that cannot be served now is one that ends at once: `200`, `retry:` with a time that differs from client to client,
  end. An EventSource comes back by itself then; on any other answer it gives up for good. With `server.shed = \"503\"` it is
  `503` with `Retry-After`, for clients and balancers that know what to do with it.
- A connection far beyond a bound (64 more) is closed as it comes: nothing is read from it.
- The admin side is never refused for any of this.

Each is logged, at most once a minute for each kind and shard.

`limits.connections`, `limits.connections_per_address` and `limits.streams_per_user` hold for the process, over all shards;
what is named `per_shard`, the log, the tails, the queue, the spill and `limits.accept_rate` hold for each shard.

| Limit | Default | | Metric |
| --- | --- | --- | --- |
";

const TAIL: &str = "
## Who counts as one address

An IPv4 address, or the first 64 bits of an IPv6 address, since whoever has one such address has all of them. The limit is off
by default: offices, schools and mobile networks put thousands of people behind one address.

Behind a proxy every connection comes from the proxy. Name it in `server.trusted_proxies` (`unix` for one that comes over a Unix
socket), and the address that it gives in `X-Forwarded-For` counts instead: the last one in it that is no trusted proxy's. A
proxy that writes `Forwarded` (RFC 7239) needs `server.forwarded_field = \"forwarded\"`; only one of both is ever looked at,
because a proxy that writes one passes on the other as the client sent it. From anybody else neither counts. If an entry
cannot be read, the proxy itself counts. nginx:

```nginx
proxy_set_header X-Forwarded-For $remote_addr;
```

Connections of a proxy count from the moment that they carry a stream. Over a Unix socket without a trusted proxy there is no
address, and nothing is counted.

## Who counts as one user

Whoever a way in names: the subject of a token, the user that the application answers with. Streams that nobody in particular
may open (`public`) have no user and are not counted.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_metric() {
        for row in limits() {
            let key = row.file_key.unwrap_or_default();
            assert!(!metrics(row.key).is_empty(), "say in METRICS what {key} shows itself by");
        }
        assert_eq!(METRICS.len(), limits().count(), "what is no limit any more has no row");
    }
}
