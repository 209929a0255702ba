//! `tollgate storage`: what the engine keeps, seen, checked, compacted and copied.

use std::io::{self, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::record_batch::RecordBatch;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tollgate_engine::offline::{self, Checked, Offline};
use tollgate_store::{Export, Progress, TableStatus};

use crate::cli::{StorageArgs, StorageCommand, StorageDirArgs, StorageExportArgs, StorageStatusArgs};
use crate::client;
use crate::config::Settings;
use crate::output::{self, Format};
use crate::{logging, sql};

/// What a running engine says about itself.
const TABLES: &str = "SELECT table_name, count(*) AS files, CAST(sum(rows) AS BIGINT) AS rows, CAST(sum(bytes) AS BIGINT) AS bytes, \
                      min(time_min) AS time_min, max(time_max) AS time_max FROM storage_files WHERE aside IS NULL GROUP BY table_name ORDER BY table_name";
const STATE: &str = "SELECT state, reason, hot_rows, hot_bytes, log_bytes, seal_lag_s, compaction_debt_bytes, free_bytes, aside FROM storage";

/// Runs the command.
pub(crate) fn run(args: &StorageArgs) -> anyhow::Result<()> {
    logging::start("warn");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match &args.command {
            StorageCommand::Status(args) => status(args).await,
            StorageCommand::Verify(args) => verify(args).await,
            StorageCommand::Compact(args) => compact(args).await,
            StorageCommand::Export(args) => export(args).await,
        }
    })
}

/// Asks the engine that runs; where none does, looks into the directory.
async fn status(args: &StorageStatusArgs) -> anyhow::Result<()> {
    let settings = settings(&args.dir)?;
    let engine = args.engine.clone().unwrap_or_else(|| format!("http://{}", settings.listen.http));
    let is_named = args.engine.is_some();
    match sql::rows(&engine, "SELECT 1").await {
        Ok(_) if args.dir.data.is_none() || is_named => running(&engine, args.dir.output).await,
        Err(error) if is_named => Err(error),
        _ => {
            let status = offline::status(&settings.engine()).await?;
            let tables = tables(&status.tables)?;
            match args.dir.output {
                Format::Json => print_json(&json!({
                    "running": false,
                    "sealed_through": status.sealed_through.0,
                    "tables": status.tables.iter().map(table_json).collect::<Vec<_>>(),
                    "aside": status.aside.iter().map(|aside| json!({ "name": aside.name, "reason": aside.reason })).collect::<Vec<_>>(),
                })),
                Format::Table => {
                    println!("no engine runs on `{}`\n", settings.data.display());
                    output::table(&[tables])?;
                    status.aside.iter().for_each(|aside| println!("aside: {}: {}", aside.name, aside.reason));
                    Ok(())
                }
                Format::Csv => csv(),
            }
        }
    }
}

async fn running(engine: &str, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Table => {
            output::table(&sql::rows(engine, STATE).await?)?;
            println!();
            output::table(&sql::rows(engine, TABLES).await?)
        }
        Format::Json => {
            let json = async |query| -> anyhow::Result<serde_json::Value> {
                Ok(serde_json::from_slice(&client::sql(engine, query, "application/json").await?)?)
            };
            let storage = json("SELECT * FROM storage").await?;
            print_json(&json!({ "running": true, "storage": storage[0], "tables": json(TABLES).await? }))
        }
        Format::Csv => csv(),
    }
}

async fn verify(args: &StorageDirArgs) -> anyhow::Result<()> {
    let bar = bar("files checked");
    let progress = shown(&bar);
    let checked = offline::verify(&settings(args)?.engine(), progress).await?;
    bar.finish_and_clear();
    let Checked { is_running, files, vanished, log, faults } = &checked;
    match args.output {
        Format::Json => print_json(&json!({
            "running": is_running,
            "files": files.files, "rows": files.rows, "bytes": files.bytes, "vanished": vanished,
            "log": { "segments": log.segments, "records": log.records, "rows": log.rows, "bytes": log.bytes, "torn_bytes": log.torn_bytes },
            "faults": faults.iter().map(|fault| json!({ "name": fault.name, "problem": fault.problem })).collect::<Vec<_>>(),
        }))?,
        Format::Table => {
            println!("{} sealed files with {} rows, {} bytes", files.files, files.rows, files.bytes);
            if *vanished > 0 {
                println!("{vanished} more were replaced or removed by the engine before they were checked");
            }
            println!("{} segments of the log with {} batches, {} rows", log.segments, log.records, log.rows);
            if log.torn_bytes > 0 && *is_running {
                println!("{} bytes at the end of the log are being written", log.torn_bytes);
            } else if log.torn_bytes > 0 {
                println!(
                    "{} bytes at the end of the log are no whole batch: nobody was told that it is kept",
                    log.torn_bytes
                );
            }
            faults.iter().for_each(|fault| println!("{}: {}", fault.name, fault.problem));
        }
        Format::Csv => return csv(),
    }
    match faults.len() {
        0 => Ok(()),
        1 => bail!("1 fault"),
        count => bail!("{count} faults"),
    }
}

async fn compact(args: &StorageDirArgs) -> anyhow::Result<()> {
    let config = settings(args)?.engine();
    let before = offline::status(&config).await?.tables;
    let offline = Offline::open(&config).await?;
    let bar = bar("bytes rewritten");
    let drawn = bar.clone();
    let mut most = 0;
    offline
        .compact(move |left| {
            most = most.max(left);
            drawn.set_length(most);
            drawn.set_position(most - left);
        })
        .await?;
    bar.finish_and_clear();
    offline.close().await;
    let after = offline::status(&config).await?.tables;
    let files = |tables: &[TableStatus]| tables.iter().map(|table| table.files).sum::<usize>();
    match args.output {
        Format::Json => print_json(&json!({
            "before": before.iter().map(table_json).collect::<Vec<_>>(),
            "after": after.iter().map(table_json).collect::<Vec<_>>(),
        })),
        Format::Table => {
            println!("{} files became {}\n", files(&before), files(&after));
            output::table(&[tables(&after)?])
        }
        Format::Csv => csv(),
    }
}

async fn export(args: &StorageExportArgs) -> anyhow::Result<()> {
    let format = args.format.parse().map_err(|error: String| anyhow!(error))?;
    let time = |text: &Option<String>, otherwise| text.as_deref().map_or(Ok(otherwise), time_us);
    let (from_us, to_us) = (time(&args.from, i64::MIN)?, time(&args.to, i64::MAX)?);
    let config = settings(&args.dir)?.engine();
    let names = offline::tables(&config);
    let table = names.iter().position(|name| *name == args.table);
    let table = table.with_context(|| {
        format!("there is no table `{}` in the store: choose one of {}", args.table, names.join(", "))
    })?;
    let offline = Offline::open(&config).await?;
    let bar = bar("files read");
    let export = Export { table, from_us, to_us, directory: args.directory.clone(), format };
    let exported = offline.export(export, shown(&bar)).await?;
    bar.finish_and_clear();
    offline.close().await;
    match args.dir.output {
        Format::Json => print_json(&json!({
            "rows": exported.rows,
            "files": exported.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
        })),
        Format::Table => {
            exported.files.iter().for_each(|file| println!("{}", file.display()));
            println!("{} rows in {} files", exported.rows, exported.files.len());
            Ok(())
        }
        Format::Csv => csv(),
    }
}

/// The configuration, or its defaults where there is none, with the data directory that was named.
fn settings(args: &StorageDirArgs) -> anyhow::Result<Settings> {
    let is_default = args.config.as_os_str() == "tollgate.yaml";
    let mut settings =
        if is_default && !args.config.exists() { Settings::default() } else { Settings::load(&args.config)? };
    if let Some(data) = &args.data {
        settings.data.clone_from(data);
    }
    Ok(settings)
}

fn time_us(text: &str) -> anyhow::Result<i64> {
    let ns = string_to_timestamp_nanos(text);
    ns.map(|ns| ns.div_euclid(1_000)).map_err(|_| anyhow!("`{text}` is no time: write it as 2026-03-01T00:00:00Z"))
}

fn tables(tables: &[TableStatus]) -> anyhow::Result<RecordBatch> {
    let counts = |read: fn(&TableStatus) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(
            tables.iter().map(|table| i64::try_from(read(table)).unwrap_or(i64::MAX)),
        ))
    };
    let times = |read: fn((i64, i64)) -> i64| -> ArrayRef {
        let times: TimestampMicrosecondArray = tables.iter().map(|table| table.times_us.map(read)).collect();
        Arc::new(times.with_timezone("UTC"))
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("table_name", Arc::new(StringArray::from_iter_values(tables.iter().map(|table| table.name)))),
        ("files", counts(|table| table.files as u64)),
        ("rows", counts(|table| table.rows)),
        ("bytes", counts(|table| table.bytes)),
        ("time_min", times(|(earliest, _)| earliest)),
        ("time_max", times(|(_, latest)| latest)),
        ("compaction_debt_bytes", counts(|table| table.compaction_debt_bytes)),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn table_json(table: &TableStatus) -> serde_json::Value {
    json!({
        "table_name": table.name, "files": table.files, "rows": table.rows, "bytes": table.bytes,
        "compaction_debt_bytes": table.compaction_debt_bytes,
    })
}

fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{value:#}")?)
}

fn csv() -> anyhow::Result<()> {
    bail!("`storage` prints `table` or `json`")
}

/// A bar on standard error, where that is a terminal.
fn bar(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {percent}% {msg} ({eta} left)");
    let bar = ProgressBar::new(0).with_message(what);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

fn shown(bar: &ProgressBar) -> impl FnMut(Progress) + Send + 'static {
    let bar = bar.clone();
    move |progress: Progress| {
        bar.set_length(progress.bytes_all);
        bar.set_position(progress.bytes);
    }
}
