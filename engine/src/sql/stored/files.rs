//! Reads sealed files that are no longer in memory.
//!
//! DataFusion's Parquet source prunes row groups and pages by statistics and bloom filters, and keeps footers in a bounded
//! cache. A file stays where it is for as long as a reader of it lives.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use bytes::Bytes;
use chrono::DateTime;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder};
use futures::future::{BoxFuture, FutureExt as _};
use object_store::ObjectMeta;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use tollgate_store::{SealedFile, check_footer};

use super::blooms::{self, Footers, Found};
use super::bounds::Timed as _;
use super::local::LocalFile;
use super::moment::{self, Moment};
use super::packed::Unpacking;
use super::table::Wanted;

/// Bytes that are read from the end of a file at first: enough for most footers with their page index.
const FOOTER_BYTES: usize = 256 << 10;

/// Under which the session knows the object store of the sealed files.
pub(in crate::sql) fn objects_url() -> Result<ObjectStoreUrl> {
    ObjectStoreUrl::parse("tollgate://tables")
}

/// A plan that gives the rows of these files, newest first.
pub(super) async fn plan(
    session: &dyn Session,
    moment: &Arc<Moment>,
    files: &[Arc<SealedFile>],
    schema: &SchemaRef,
    wanted: &Wanted<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let url = objects_url()?;
    let objects = session.runtime_env().object_store(&url)?;
    let footers = session.runtime_env().cache_manager.get_file_metadata_cache();
    let found = match &wanted.sought {
        Some(sought) => {
            let footers =
                Footers { objects: objects.as_ref(), cache: Arc::clone(&footers), footer_bytes: FOOTER_BYTES };
            let metas: Vec<ObjectMeta> = files.iter().map(|file| meta(file)).collect();
            blooms::look(&footers, &metas, sought).await
        }
        None => vec![Found::Unknown; files.len()],
    };
    let is_looked_up = !found.iter().any(|found| matches!(found, Found::Unknown));
    let found = files.iter().zip(found).filter(|(_, found)| !matches!(found, Found::Nowhere));
    let (files, found): (Vec<_>, Vec<_>) = found.map(|(file, found)| (Arc::clone(file), found)).unzip();
    let readers =
        Readers { readers: CachedParquetFileReaderFactory::new(objects, footers), moment: Arc::clone(moment) };
    // Lists take long to read: where some are asked for, only those of rows that a filter leaves.
    let is_list = |field: &FieldRef| matches!(field.data_type(), DataType::List(_) | DataType::Map(..));
    let has_lists = wanted.projection.map_or_else(
        || schema.fields().iter().any(is_list),
        |columns| columns.iter().any(|column| is_list(&schema.fields()[*column])),
    );
    let is_late = wanted.sought.is_some() || has_lists;
    let source = ParquetSource::new(Arc::clone(schema))
        .with_pushdown_filters(is_late)
        .with_reorder_filters(is_late)
        .with_bloom_filter_on_read(!is_looked_up)
        .with_metadata_size_hint(FOOTER_BYTES)
        .with_parquet_file_reader_factory(Arc::new(readers));
    let time = schema.index_of(wanted.time)?;
    let all = statistics(schema, time, &files);
    let groups = share_out(files.iter().zip(found), wanted.partitions, |file, found| {
        let known = statistics(schema, time, std::slice::from_ref(file));
        let held = Held { file: Arc::clone(file), path: moment::path(session, file) };
        let part = PartitionedFile::new_from_meta(meta(file)).with_extension(held);
        match found {
            Found::In(row_groups) => part.with_extension(row_groups).with_statistics(Arc::new(known.to_inexact())),
            _ => part.with_statistics(Arc::new(known)),
        }
    });
    let all = if wanted.sought.is_some() { all.to_inexact() } else { all };
    let config = FileScanConfigBuilder::new(url, Arc::new(source))
        .with_file_groups(groups)
        .with_statistics(all)
        .with_limit(wanted.limit)
        .with_expr_adapter(Some(Arc::new(Unpacking)))
        .with_projection_indices(wanted.projection.cloned())?
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

/// What the object store is asked for.
fn meta(file: &SealedFile) -> ObjectMeta {
    ObjectMeta {
        location: file.key.clone(),
        // A key is never used twice, so that what is cached about it stays true.
        last_modified: DateTime::UNIX_EPOCH,
        size: file.bytes,
        e_tag: None,
        version: None,
    }
}

/// Gives each partition about the same number of bytes, the newest files first in each.
fn share_out<'a>(
    files: impl ExactSizeIterator<Item = (&'a Arc<SealedFile>, Found)>,
    partitions: usize,
    describe: impl Fn(&Arc<SealedFile>, Found) -> PartitionedFile,
) -> Vec<FileGroup> {
    let mut groups: Vec<(u64, FileGroup)> = Vec::new();
    groups.resize_with(partitions.clamp(1, files.len().max(1)), || (0, FileGroup::new(Vec::new())));
    for (file, found) in files {
        if let Some((bytes, group)) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += file.bytes;
            group.push(describe(file, found));
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// What is known about files without reading them.
fn statistics(schema: &SchemaRef, time: usize, files: &[Arc<SealedFile>]) -> Statistics {
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let mut statistics = Statistics::new_unknown(schema).with_num_rows(Precision::Exact(rows as usize));
    let bounds = files.iter().map(|file| file.times_us()).reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)));
    if let (Some((earliest, latest)), Some(column)) = (bounds, statistics.column_statistics.get_mut(time)) {
        let value = |us| Precision::Exact(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())));
        *column = ColumnStatistics {
            null_count: Precision::Exact(0),
            min_value: value(earliest),
            max_value: value(latest),
            ..ColumnStatistics::new_unknown()
        };
    }
    statistics
}

/// Keeps a file from being deleted.
#[derive(Clone)]
struct Held {
    file: Arc<SealedFile>,
    /// Where it is, when it is on this machine.
    path: Option<PathBuf>,
}

/// Reads after a pause. Filters may leave nothing of file after file, so that no other pause would come.
async fn paused<T>(read: impl FnOnce() -> T) -> T {
    tokio::task::yield_now().await;
    read()
}

/// Makes readers that hold their files, and notes which they are.
struct Readers {
    readers: CachedParquetFileReaderFactory,
    moment: Arc<Moment>,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_bytes: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let held = file.extension::<Held>().cloned();
        if let Some(held) = &held {
            self.moment.open(Arc::clone(&held.file));
        }
        let local = held.as_ref().and_then(|held| Some((held.path.clone()?, held.file.bytes))).map(|(path, bytes)| {
            let read = MetricBuilder::new(metrics).counter("bytes_scanned", partition);
            LocalFile::new(path, bytes, read)
        });
        let reader = self.readers.create_reader(partition, file, footer_bytes, metrics)?;
        Ok(Box::new(HeldReader { reader, local, _held: held }))
    }
}

struct HeldReader {
    /// Reads the footer, and remote files.
    reader: Box<dyn AsyncFileReader + Send>,
    local: Option<LocalFile>,
    _held: Option<Held>,
}

impl AsyncFileReader for HeldReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        match &mut self.local {
            Some(file) => paused(move || file.read(&range)).boxed(),
            None => self.reader.get_bytes(range),
        }
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        match &mut self.local {
            Some(file) => paused(move || file.read_all(&ranges)).boxed(),
            None => self.reader.get_byte_ranges(ranges),
        }
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let metadata = self.reader.get_metadata(options).await?;
            match check_footer(metadata.file_metadata()) {
                Ok(()) => Ok(metadata),
                Err(problem) => Err(ParquetError::General(problem)),
            }
        }
        .boxed()
    }
}
