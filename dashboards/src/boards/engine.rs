//! The engine itself, from its own metrics.

use crate::model::{Board, Kind, Panel};

pub(super) fn board() -> Board {
    Board {
        uid: "tollgate-engine",
        title: "Engine",
        description: "What the engine takes in, keeps, answers and pushes, and what that costs it. From its own `/metrics`.",
        variables: Vec::new(),
        sections: vec![
            (
                "Intake",
                vec![
                    lines("Rows taken in", "rowsps", "Requests that were admitted.", "sum(rate(tollgate_rows_admitted_total[$__rate_interval]))", "rows"),
                    lines("Refused batches", "ops", "Batches that were refused whole, by reason: a proxy or adapter speaks wrongly.", "sum by (code) (rate(tollgate_batches_rejected_total[$__rate_interval]))", "{{code}}"),
                    lines("Batches", "ops", "Batches admitted, and those that had been taken in before, after a reconnect.", "sum(rate(tollgate_batches_admitted_total[$__rate_interval]))", "new")
                        .engine("sum(rate(tollgate_batches_duplicate_total[$__rate_interval]))", "seen before"),
                    lines("Lost rows", "rowsps", "Rows that proxies had to drop, by reason.", "sum by (reason) (rate(tollgate_rows_lost_total[$__rate_interval]))", "{{reason}}"),
                ],
            ),
            (
                "Storage",
                vec![
                    lines("State of the storage", "short", "1 for the state that it is in: ok, full, behind or failing. While it is behind, rows are kept in the log and cannot be sealed; when it is full or failing, acknowledgements wait.", "max by (state) (tollgate_storage_state)", "{{state}}"),
                    lines("Bytes in memory", "bytes", "Rows that are not sealed, and sealed ones that are kept to spare reading files.", "sum(tollgate_storage_hot_bytes)", "not sealed")
                        .engine("sum(tollgate_storage_resident_bytes)", "sealed"),
                    lines("Bytes on disk", "bytes", "The log, and sealed files by table.", "sum(tollgate_storage_log_bytes)", "log")
                        .engine("sum by (table) (tollgate_storage_file_bytes)", "{{table}}"),
                    lines("Time of syncs", "s", "How long it takes until a group of batches is on disk, and so acknowledged: 99th percentile.", "histogram_quantile(0.99, sum by (le) (rate(tollgate_storage_log_sync_seconds_bucket[$__rate_interval])))", "p99"),
                    lines("Age of what is not sealed", "s", "Age of the oldest row that is in the log and not yet in a file.", "max(tollgate_storage_seal_lag_seconds)", "age"),
                    lines("Compaction debt", "bytes", "Files that are still to be rewritten, by table.", "sum by (table) (tollgate_storage_compaction_debt_bytes)", "{{table}}"),
                ],
            ),
            (
                "Queries",
                vec![
                    lines("Queries", "ops", "SQL queries by outcome.", "sum by (outcome) (rate(tollgate_queries_total[$__rate_interval]))", "{{outcome}}"),
                    lines("Time of queries", "s", "From a query to its last row.", "histogram_quantile(0.5, sum by (le) (rate(tollgate_query_seconds_bucket[$__rate_interval])))", "p50")
                        .engine("histogram_quantile(0.99, sum by (le) (rate(tollgate_query_seconds_bucket[$__rate_interval])))", "p99"),
                ],
            ),
            (
                "The loop",
                vec![
                    lines("Signals", "ops", "Runs of signal files by outcome.", "sum by (outcome) (rate(tollgate_signal_runs_total[$__rate_interval]))", "{{outcome}}"),
                    lines("Time of signals", "s", "What a run of a signal file takes.", "histogram_quantile(0.99, sum by (le) (rate(tollgate_signal_seconds_bucket[$__rate_interval])))", "p99"),
                    lines("From change to enforcement", "s", "From a change to its enforcement by one proxy. The goal is 0.25 s for 99 of 100.", "histogram_quantile(0.5, sum by (le) (rate(tollgate_push_to_acknowledgement_seconds_bucket[$__rate_interval])))", "p50")
                        .engine("histogram_quantile(0.99, sum by (le) (rate(tollgate_push_to_acknowledgement_seconds_bucket[$__rate_interval])))", "p99"),
                    lines("Snapshots", "ops", "Snapshots pushed, and those that a proxy could not apply.", "sum(rate(tollgate_snapshots_pushed_total[$__rate_interval]))", "pushed")
                        .engine("sum(rate(tollgate_snapshots_refused_total[$__rate_interval]))", "refused"),
                    lines("Policies", "short", "Policies in force, by kind.", "sum by (kind) (tollgate_policies_loaded)", "{{kind}}")
                        .engine("max(tollgate_policies_refused)", "a change was refused"),
                    lines("Connections", "short", "Open streams of rows and of snapshots, and leases in force.", "sum(tollgate_reporters_connected)", "reporters")
                        .engine("sum(tollgate_watchers_connected)", "watchers")
                        .engine("sum(tollgate_leases)", "leases"),
                    lines("Decisions for others", "ops", "Requests that the engine decided itself, for proxies that ask it.", "sum by (outcome) (rate(tollgate_checks_total[$__rate_interval]))", "{{outcome}}"),
                ],
            ),
        ],
    }
}

fn lines(
    title: &'static str,
    unit: &'static str,
    description: &'static str,
    text: &str,
    legend: &'static str,
) -> Panel {
    Panel::new(Kind::Lines, title, unit, description).engine(text, legend)
}
