//! The page `docs/reference/metrics.md`, made from the tables.

use std::fmt::Write;

use crate::base::disconnect::Disconnect;
use crate::base::queue::GapReason;
use crate::base::refusal::Refusal;
use crate::driver::admin::metrics::families;

pub fn metrics_page() -> String {
    let mut text = String::from(HEAD);
    for family in families() {
        let labels: Vec<_> = family.labels().iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, labels) = (family.sample_name(), family.type_name(), labels.join(", "));
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {} |", family.help);
    }
    text.push_str("\n## Why a connection ended\n\n`courier_disconnects_total{reason}`; each connection counts once.\n\n");
    text.push_str("| `reason` | |\n| --- | --- |\n");
    for reason in Disconnect::ALL {
        let _ = writeln!(text, "| `{}` | {} |", reason.name(), reason.description().trim());
    }
    text.push_str("\n## Why a request was refused\n\n`courier_refusals_total{reason}`.\n\n");
    text.push_str("| `reason` | Status | |\n| --- | --- | --- |\n");
    for reason in Refusal::ALL {
        let _ = writeln!(text, "| `{}` | {} | {} |", reason.code(), reason.status(), reason.detail());
    }
    let gaps: Vec<_> = GapReason::ALL.iter().map(|reason| format!("`{}`", reason.name())).collect();
    let _ = write!(
        text,
        "\n## Why messages may be missing\n\n`courier_gaps_total{{reason}}`: {}.\n",
        gaps.join(", ")
    );
    text
}

const HEAD: &str = "\
# Metrics

<!-- Made from the tables in src/base: make reference. -->

`GET /metrics` on the admin side answers in the OpenMetrics text format, which Prometheus reads as its own. Labels are
closed sets; there is never one for a channel or a user. Figures without the label `shard` are sums over the shards;
`GET /stats` has all of them shard by shard, as JSON.

| Name | Type | Labels | |
| --- | --- | --- | --- |
";
