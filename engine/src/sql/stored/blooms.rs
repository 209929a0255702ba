//! Finds the row groups that may hold single values, such as a trace id, by the bloom filters of sealed files.
//!
//! A filter is made of blocks of 32 bytes, and a value is looked for in one of them. So that is what is read of each row group: among
//! a hundred million rows it is a few kilobytes, where whole filters, which is what DataFusion's source reads, are a hundred megabytes.
//!
//! Source: <https://github.com/apache/parquet-format/blob/master/BloomFilter.md>

use std::ops::Range;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::datasource::physical_plan::parquet::ParquetAccessPlan;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::error::Result;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use futures::{FutureExt as _, StreamExt as _};
use object_store::{ObjectMeta, ObjectStore};
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use twox_hash::XxHash64;

/// Values that are looked for one by one; for more, whole filters are the better way.
const VALUES_MAX: usize = 64;
/// Files whose filters are read side by side.
const FILES_AT_ONCE: usize = 8;
const BLOCK_BYTES: u64 = 32;

/// Values of which a row must have one to pass the filters of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sought(Vec<Value>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Value {
    column: &'static str,
    bytes: Vec<u8>,
}

impl Sought {
    /// What filters, all of which a row has to pass, say about these columns; `None` when they leave any value.
    pub(super) fn of(filters: &[Expr], columns: &[&'static str]) -> Option<Self> {
        let sought = filters.iter().filter_map(|filter| values(filter, columns));
        sought.min_by_key(Vec::len).filter(|values| values.len() <= VALUES_MAX).map(Self)
    }
}

/// The values of which a row must have one to pass a filter.
fn values(filter: &Expr, columns: &[&'static str]) -> Option<Vec<Value>> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let value = value(left, right, columns).or_else(|| value(right, left, columns))?;
            Some(vec![value])
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (mut left, right) = (values(left, columns)?, values(right, columns)?);
            left.extend(right);
            Some(left)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            values(left, columns).or_else(|| values(right, columns))
        }
        Expr::InList(list) if !list.negated => list.list.iter().map(|item| value(&list.expr, item, columns)).collect(),
        _ => None,
    }
}

fn value(column: &Expr, literal: &Expr, columns: &[&'static str]) -> Option<Value> {
    let column = match column {
        Expr::Column(column) => column,
        // To compare ids with binary of any length.
        Expr::Cast(cast) if cast.field.data_type().is_binary() => match cast.expr.as_ref() {
            Expr::Column(column) => column,
            _ => return None,
        },
        _ => return None,
    };
    let column = columns.iter().find(|name| **name == column.name)?;
    let Expr::Literal(literal, _) = literal else { return None };
    let bytes = match literal {
        ScalarValue::FixedSizeBinary(_, Some(bytes))
        | ScalarValue::Binary(Some(bytes))
        | ScalarValue::LargeBinary(Some(bytes))
        | ScalarValue::BinaryView(Some(bytes)) => bytes.clone(),
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            text.as_bytes().to_vec()
        }
        _ => return None,
    };
    Some(Value { column, bytes })
}

/// Where files are read, and where their footers are kept.
pub(super) struct Footers<'a> {
    pub(super) objects: &'a dyn ObjectStore,
    pub(super) cache: Arc<FileMetadataCache>,
    pub(super) footer_bytes: usize,
}

/// Which row groups of a file may hold what is sought.
#[derive(Debug, Clone)]
pub(super) enum Found {
    Nowhere,
    In(ParquetAccessPlan),
    /// The filters cannot be read; reading the rows says why.
    Unknown,
}

/// Looks into each file.
pub(super) async fn look(footers: &Footers<'_>, files: &[ObjectMeta], sought: &Sought) -> Vec<Found> {
    let looks: Vec<_> = files.iter().map(|file| look_into(footers, file, sought).boxed()).collect();
    let found = futures::stream::iter(looks).buffered(FILES_AT_ONCE);
    found.map(|found| found.unwrap_or(Found::Unknown)).collect().await
}

async fn look_into(footers: &Footers<'_>, file: &ObjectMeta, sought: &Sought) -> Result<Found> {
    let metadata = DFParquetMetadata::new(footers.objects, file)
        .with_metadata_size_hint(Some(footers.footer_bytes))
        .with_file_metadata_cache(Some(Arc::clone(&footers.cache)))
        .fetch_metadata()
        .await?;
    let probes: Vec<Probe> = probes(&metadata, sought);
    let ranges: Vec<Range<u64>> =
        probes.iter().filter_map(|probe| probe.place.as_ref()).flat_map(Place::ranges).collect();
    let read = footers.objects.get_ranges(&file.location, &ranges).await?;
    let mut read = read.chunks_exact(2);
    let mut plan = ParquetAccessPlan::new_none(metadata.num_row_groups());
    for probe in &probes {
        let is_possible = match (&probe.place, probe.place.as_ref().and_then(|_| read.next())) {
            (Some(place), Some([header, block])) => place.may_hold(header, block, &probe.bytes),
            _ => true,
        };
        if is_possible {
            plan.scan(probe.row_group);
        }
    }
    Ok(if plan.row_group_indexes().is_empty() { Found::Nowhere } else { Found::In(plan) })
}

/// A value that is looked for in one row group.
struct Probe {
    row_group: usize,
    bytes: Vec<u8>,
    /// `None` when there is no filter.
    place: Option<Place>,
}

/// Where a filter's header is, and the block that a value is looked for in.
struct Place {
    header: Range<u64>,
    block: Range<u64>,
    bytes: u64,
}

fn probes(metadata: &ParquetMetaData, sought: &Sought) -> Vec<Probe> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let mut probes = Vec::new();
    for Value { column, bytes } in &sought.0 {
        let leaf = columns.iter().position(|leaf| leaf.path().parts() == [*column]);
        for (row_group, group) in metadata.row_groups().iter().enumerate() {
            let chunk = leaf.and_then(|leaf| group.columns().get(leaf));
            let place = chunk.and_then(|chunk| Place::of(chunk, bytes));
            probes.push(Probe { row_group, bytes: bytes.clone(), place });
        }
    }
    probes
}

impl Place {
    fn of(chunk: &ColumnChunkMetaData, value: &[u8]) -> Option<Self> {
        let start = u64::try_from(chunk.bloom_filter_offset()?).ok()?;
        let length = u64::try_from(chunk.bloom_filter_length()?).ok()?;
        // A filter's size is a power of two, and its header is shorter than a block.
        let bytes = 1 << length.checked_ilog2()?;
        let header_bytes = length - bytes;
        if bytes < BLOCK_BYTES || !(1..BLOCK_BYTES).contains(&header_bytes) {
            return None;
        }
        let blocks = bytes / BLOCK_BYTES;
        let hash = XxHash64::oneshot(0, value);
        let block = start + header_bytes + (((hash >> 32) * blocks) >> 32) * BLOCK_BYTES;
        Some(Self { header: start..start + header_bytes, block: block..block + BLOCK_BYTES, bytes })
    }

    fn ranges(&self) -> [Range<u64>; 2] {
        [self.header.clone(), self.block.clone()]
    }

    /// Whether the value may be in the filter; also when the filter is not what it was taken for.
    fn may_hold(&self, header: &[u8], block: &[u8], value: &[u8]) -> bool {
        // Thrift: field 1 is the size of the filter as a zigzag number.
        let size = header.strip_prefix(&[0x15]).and_then(varint).map(|size| size / 2);
        size != Some(self.bytes) || Sbbf::new(block).check(value)
    }
}

fn varint(bytes: &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters of every size up to a megabyte say the same, read whole and read by block.
    #[test]
    fn a_block_says_what_its_filter_says() {
        for bytes in [32, 64, 1 << 10, 1 << 15, 1 << 20] {
            let mut filter = Sbbf::new_with_num_of_bytes(bytes);
            let values: Vec<Vec<u8>> = (0..bytes as u64 / 2).map(|value| value.to_be_bytes().to_vec()).collect();
            values.iter().for_each(|value| filter.insert(value.as_slice()));
            let mut written = Vec::new();
            filter.write(&mut written).unwrap();
            let header_bytes = written.len() - bytes;
            assert!(header_bytes < BLOCK_BYTES as usize);
            for value in (0..2_000_u64).map(|value| (value * 7).to_be_bytes()) {
                let blocks = bytes as u64 / BLOCK_BYTES;
                let block = ((XxHash64::oneshot(0, &value) >> 32) * blocks) >> 32;
                let start = header_bytes as u64 + block * BLOCK_BYTES;
                let place =
                    Place { header: 0..header_bytes as u64, block: start..start + BLOCK_BYTES, bytes: bytes as u64 };
                let at = |range: &Range<u64>| &written[range.start as usize..range.end as usize];
                let held = place.may_hold(at(&place.header), at(&place.block), &value);
                assert_eq!(held, filter.check(value.as_slice()), "{bytes} bytes");
            }
        }
    }

    #[test]
    fn a_filter_that_is_not_understood_leaves_all() {
        let place = Place { header: 0..16, block: 16..48, bytes: 32 };
        assert!(!place.may_hold(&[0x15, 64], &[0; 32], b"value"));
        assert!(place.may_hold(&[0x15, 66], &[0; 32], b"value"), "of another size");
        assert!(place.may_hold(&[0x16, 64], &[0; 32], b"value"), "no header");
        assert!(place.may_hold(&[], &[0; 32], b"value"));
    }

    #[test]
    fn values_are_found_in_filters() {
        use datafusion::prelude::{col, lit};
        let sought =
            |filter: Expr| Sought::of(&[filter], &["trace_id", "request_id"]).map(|Sought(values)| values.len());
        let id = |text: &str| col("request_id").eq(lit(text));
        assert_eq!(sought(id("a")), Some(1));
        assert_eq!(sought(lit("a").eq(col("request_id"))), Some(1));
        assert_eq!(sought(id("a").or(id("b")).or(id("c"))), Some(3));
        assert_eq!(sought(id("a").and(col("status").gt(lit(499)))), Some(1));
        assert_eq!(sought(col("request_id").in_list(vec![lit("a"), lit("b")], false)), Some(2));
        assert_eq!(sought(id("a").or(col("status").gt(lit(499)))), None);
        assert_eq!(sought(col("request_id").in_list(vec![lit("a")], true)), None);
        assert_eq!(sought(col("source").eq(lit("a"))), None);
        assert_eq!(sought(col("request_id").eq(col("source"))), None);
        assert_eq!(sought(col("request_id").in_list((0..100).map(lit).collect(), false)), None);
    }
}
