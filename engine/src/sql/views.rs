//! Views: questions that everybody asks, as tables.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use datafusion::datasource::ViewTable;
use datafusion::error::Result;
use datafusion::execution::context::SessionContext;
use tollgate_store::TableSpec;

/// Name and query of each; one may read those before it.
const VIEWS: [(&str, &str); 6] = [
    // Services of the last minute, and those that `entities.json` names.
    ("services", include_str!("views/services.sql")),
    ("services_now", include_str!("views/services_now.sql")),
    ("edges", include_str!("views/edges.sql")),
    ("top_talkers", include_str!("views/top_talkers.sql")),
    ("denied", include_str!("views/denied.sql")),
    ("limited", include_str!("views/limited.sql")),
];
/// For how long `traffic` shows single seconds.
const SECONDS_FOR: Duration = Duration::from_secs(15 * 60);
/// Least retention of `traffic_1s`: with less, the view `traffic` would have a hole, as it shows seconds up to the start of a minute.
pub const SECONDS_KEPT_MIN: Duration = Duration::from_secs(30 * 60);
/// Least retention of `traffic_1m`: the view `traffic` shows minutes up to the start of an hour.
pub const MINUTES_KEPT_MIN: Duration = Duration::from_secs(3 * 60 * 60);

/// Makes all of them known to a session that has the tables.
pub(super) async fn register(context: &SessionContext, stored: &[TableSpec]) -> Result<()> {
    for (name, query) in definitions(stored) {
        let plan = context.state().create_logical_plan(&query).await?;
        context.register_table(name, Arc::new(ViewTable::new(plan, Some(query))))?;
    }
    Ok(())
}

/// Name and query of each, in an order in which one reads only those before it.
pub(super) fn definitions(stored: &[TableSpec]) -> Vec<(&'static str, String)> {
    let kept = |name| stored.iter().find(|spec| spec.name == name).and_then(|spec| spec.retention.age);
    let traffic = traffic(kept("traffic_1m"));
    [("traffic", traffic)].into_iter().chain(VIEWS.map(|(name, query)| (name, query.to_owned()))).collect()
}

/// Every request once: in its second for the last minutes, in its minute before that, in its hour before minutes expire.
fn traffic(minutes_kept: Option<Duration>) -> String {
    let seconds = format!("date_trunc('minute', now() - INTERVAL '{} seconds')", SECONDS_FOR.as_secs());
    let mut query = format!("SELECT *, 1 AS interval_s FROM traffic_1s WHERE time >= {seconds}\n");
    query.push_str("UNION ALL\n");
    let _ = write!(query, "SELECT *, 60 AS interval_s FROM traffic_1m WHERE time < {seconds}");
    if let Some(kept) = minutes_kept {
        let kept_s = kept.saturating_sub(Duration::from_secs(60 * 60)).as_secs();
        let minutes = format!("date_trunc('hour', now() - INTERVAL '{kept_s} seconds')");
        let _ = writeln!(query, " AND time >= {minutes}");
        query.push_str("UNION ALL\n");
        let _ = write!(query, "SELECT *, 3600 AS interval_s FROM traffic_1h WHERE time < {minutes}");
    }
    query
}
