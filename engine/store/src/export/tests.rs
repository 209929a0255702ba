use std::fs;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Encoding;

use super::*;
use crate::Partition;
use crate::sealed::tests::{HOUR_US, MINUTE_US, NINE_US, a_seal, open, rows};

async fn export(format: ExportFormat) -> (tempfile::TempDir, Exported) {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, _) = open(dir.path()).await;
    sealed.seal(a_seal(1, vec![rows(NINE_US, 0..100), rows(NINE_US + HOUR_US, 100..150)])).await.unwrap();
    sealed.seal(a_seal(2, vec![rows(NINE_US + MINUTE_US, 150..200)])).await.unwrap();
    let export = Export {
        table: 0,
        from_us: NINE_US + 90_000_000,
        to_us: NINE_US + HOUR_US + 20_000_000,
        directory: dir.path().join("out"),
        format,
    };
    let (sender, seen) = std::sync::mpsc::channel();
    let exported = sealed.export(export.clone(), move |progress| sender.send(progress).unwrap()).await.unwrap();
    assert_eq!(seen.iter().last().unwrap(), Progress { files: 3, files_all: 3, rows: 50, ..seen_bytes(&sealed) });
    let again = sealed.export(export, |_| {}).await.unwrap_err();
    assert!(again.to_string().contains("part-0"), "nothing is replaced: {again}");
    (dir, exported)
}

fn seen_bytes(sealed: &Sealed) -> Progress {
    let bytes = sealed.files()[0].iter().map(|file| file.bytes).sum();
    Progress { bytes, bytes_all: bytes, ..Progress::default() }
}

#[tokio::test]
async fn csv_has_the_rows_of_the_span_and_a_line_of_names() {
    let (_dir, exported) = export(ExportFormat::Csv).await;
    assert_eq!((exported.rows, exported.files.len()), (50, 2));
    assert!(exported.files[0].ends_with(format!("out/requests/{}/part-0.csv", Partition::Hour.directory(NINE_US))));
    let text = fs::read_to_string(&exported.files[0]).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 31);
    assert!(lines[0].starts_with("time,reporter,direction,source,"));
    assert!(lines[1].starts_with("2026-03-01T09:01:30Z,r,"), "{}", lines[1]);
    assert!(text.contains("\"[p0, p1]\""), "{text}");
}

#[tokio::test]
async fn json_lines_have_every_type() {
    let (_dir, exported) = export(ExportFormat::JsonLines).await;
    let text = fs::read_to_string(&exported.files[1]).unwrap();
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 20);
    let row = rows.iter().find(|row| row["request_id"] == "110").unwrap();
    assert_eq!(row["policies"], serde_json::json!(["p0", "p1"]));
    assert_eq!(row["labels"], serde_json::json!({"x-tenant": "t0"}));
    assert_eq!(row["trace_id"], format!("{:032x}", 110));
    assert_eq!((&row["status"], &row["destination"]), (&serde_json::json!(202), &serde_json::json!("shop/12")));
}

#[tokio::test]
async fn parquet_is_read_by_any_reader() {
    let (_dir, exported) = export(ExportFormat::Parquet).await;
    let count = |path: &PathBuf| {
        let file = fs::File::open(path).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        for column in builder.metadata().row_group(0).columns() {
            for encoding in column.encodings() {
                // What Parquet had from the start, and what every reader of a dictionary knows.
                let is_old = matches!(encoding, Encoding::PLAIN | Encoding::RLE | Encoding::RLE_DICTIONARY);
                assert!(is_old, "{encoding} in {}", column.column_path());
            }
        }
        builder.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum::<usize>()
    };
    assert_eq!(exported.files.iter().map(count).collect::<Vec<_>>(), [30, 20]);
}
