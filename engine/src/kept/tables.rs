//! The tables of the store: how their files are split, sorted and searched.

use tollgate_rollups::{POLICY_TRAFFIC_SORT, TRAFFIC_SORT, Table, merge_policy_traffic, merge_traffic};
use tollgate_store::{Merge, Partition, TableSpec};

use super::RetentionConfig;

/// Place of `requests` among the tables; the rollups follow it, in the order of [`Table::ALL`].
pub(crate) const REQUESTS: usize = 0;

/// Place of a rollup table.
pub(super) fn index(table: Table) -> usize {
    Table::ALL.iter().position(|other| *other == table).map_or(usize::MAX, |position| REQUESTS + 1 + position)
}

/// All tables.
pub(crate) fn specs(retention: &RetentionConfig) -> Vec<TableSpec> {
    let requests = TableSpec {
        name: "requests",
        schema: tollgate_attributes::schema(),
        time: "time",
        // Most questions are about one service and a stretch of time.
        sort: &["destination", "time"],
        bloom: &["trace_id", "request_id"],
        partition: Partition::Hour,
        merge: None,
        retention: retention.requests,
    };
    std::iter::once(requests).chain(Table::ALL.into_iter().map(|table| rollup(table, retention))).collect()
}

fn rollup(table: Table, retention: &RetentionConfig) -> TableSpec {
    let (partition, retention) = match table {
        Table::Traffic1s => (Partition::Hour, retention.traffic_1s),
        Table::Traffic1m | Table::PolicyTraffic1m => (Partition::Day, retention.traffic_1m),
        Table::Traffic1h => (Partition::Month, retention.traffic_1h),
    };
    let (sort, merge): (_, Merge) = match table {
        Table::PolicyTraffic1m => (POLICY_TRAFFIC_SORT, merge_policy_traffic),
        _ => (TRAFFIC_SORT, merge_traffic),
    };
    TableSpec {
        name: table.name(),
        schema: table.schema(),
        time: "time",
        sort,
        bloom: &[],
        partition,
        merge: Some(merge),
        retention,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rollup_has_its_place() {
        let specs = specs(&RetentionConfig::default());
        assert_eq!(specs[REQUESTS].name, "requests");
        for table in Table::ALL {
            let spec = &specs[index(table)];
            assert_eq!(spec.name, table.name());
            let columns = std::iter::once(&spec.time).chain(spec.sort).chain(spec.bloom);
            columns.for_each(|column| assert!(spec.schema.column_with_name(column).is_some(), "{column}"));
        }
    }
}
