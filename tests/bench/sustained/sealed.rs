//! What sealed rows take, by column.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::Context as _;
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use crate::harness::Engine;

const FILES: &str = "SELECT file FROM storage_files WHERE table_name = 'requests' ORDER BY rows DESC";

pub(super) async fn report(engine: &Engine, data: &Path) -> anyhow::Result<()> {
    let (mut rows, mut bytes) = (0_i64, 0_u64);
    let mut by_part: BTreeMap<String, i64> = BTreeMap::new();
    let files = engine.sql(FILES).await;
    for file in &files {
        let key = file["file"].as_str().context("a file without a name")?;
        // One that is gone was compacted since: its rows are in another file, which is not counted.
        let Ok(file) = File::open(data.join(key)) else { continue };
        bytes += file.metadata()?.len();
        let reader = SerializedFileReader::new(file)?;
        for group in reader.metadata().row_groups() {
            rows += group.num_rows();
            for column in group.columns() {
                let name = column.column_path().parts().first().cloned().unwrap_or_default();
                *by_part.entry(name).or_default() += column.compressed_size();
                let index = column.column_index_length().unwrap_or(0) + column.offset_index_length().unwrap_or(0);
                *by_part.entry("(page index)".to_owned()).or_default() += i64::from(index);
                let bloom = i64::from(column.bloom_filter_length().unwrap_or(0));
                *by_part.entry("(bloom filters)".to_owned()).or_default() += bloom;
            }
        }
    }
    if rows == 0 {
        println!("sustained: nothing is sealed yet");
        return Ok(());
    }
    println!("sustained: {rows} rows sealed in {} files, {:.1} bytes a row", files.len(), bytes as f64 / rows as f64);
    let mut parts: Vec<_> = by_part.into_iter().collect();
    parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let texts: Vec<_> =
        parts.iter().map(|(name, bytes)| format!("{name} {:.2}", *bytes as f64 / rows as f64)).collect();
    println!("sustained: by column: {}", texts.join(", "));
    Ok(())
}
