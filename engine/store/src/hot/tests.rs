use tollgate_attributes::{BatchBuilder, BatchLimits, Row, schema};

use super::*;

fn rows(time_us: i64, count: usize, source: &str) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX });
    for index in 0..count {
        let row = Row { time: time_us + index as i64, reporter: "r", source, weight: 1, ..Row::default() };
        let _ = builder.push(&row);
    }
    builder.finish().unwrap()
}

#[test]
fn puts_batches_together_and_keeps_every_row_in_order() {
    let sources = ["shop/a", "shop/b", ""];
    let before: Vec<RecordBatch> = (0..100).map(|batch| rows(batch * 100, 3, sources[batch as usize % 3])).collect();
    let after = HotBatch::new(concat(&schema(), before.iter()).unwrap(), "time");
    let expected = arrow::compute::concat_batches(&schema(), before.iter()).unwrap();
    assert_eq!(after.rows, expected);
    assert_eq!((after.time_min_us, after.time_max_us), (0, 9_902));

    let source = after.rows.column_by_name("source").unwrap().as_dictionary::<arrow::datatypes::Int32Type>();
    assert_eq!(source.values().len(), 2, "a name is in the dictionary once");
}

#[test]
fn leaves_large_batches_and_short_runs_alone() {
    let check = |sizes: &[usize], expected: &[(usize, usize)]| {
        let runs: Vec<(usize, usize)> = runs(sizes).into_iter().map(|run| (run.start, run.end)).collect();
        assert_eq!(runs, expected, "{sizes:?}");
    };
    check(&[9_000, 10, 10, 10, 9_000], &[]);
    check(&[3; 16], &[(0, 16)]);
    check(&[3; 15], &[]);
    check(&[&[9_000, 5_000, 5_000, 8_192][..], &[1; 20]].concat(), &[(1, 3), (4, 24)]);
    check(&[8_000; 10], &[(0, 8), (8, 10)]);
}
