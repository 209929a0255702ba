//! The same questions, answered by ClickHouse as a library (`chdb`) from the same files.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Answer, Names, Question, TIMES, median};
use crate::harness::pypi;

pub(super) struct Answers {
    pub(super) version: String,
    pub(super) answers: Vec<Answer>,
}

pub(super) fn ask(tables: &Path, questions: &[Question], names: &Names) -> anyhow::Result<Answers> {
    let source = format!("file('{}/**/*.parquet', 'Parquet')", tables.display());
    let queries = |question: &Question| -> Vec<String> {
        (0..=TIMES).map(|time| names.fill(&question.theirs.replace("$requests", &source), time)).collect()
    };
    let asked = json!(questions.iter().map(queries).collect::<Vec<_>>());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/queries/clickhouse.py");
    let mut python =
        Command::new(pypi::program("python")).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    python.stdin.take().context("no input")?.write_all(asked.to_string().as_bytes())?;
    let output = python.wait_with_output()?;
    anyhow::ensure!(output.status.success(), "chdb: {}; tests/bench/run.sh installs it", output.status);
    let answered: Value = serde_json::from_slice(&output.stdout)?;
    let answer = |answer: &Value| -> anyhow::Result<Answer> {
        let times = answer["seconds"].as_array().context("no times")?;
        let times = times.iter().filter_map(Value::as_f64).map(Duration::from_secs_f64).skip(1).collect();
        Ok(Answer { time: median(times), rows: usize::try_from(answer["rows"].as_u64().context("no rows")?)? })
    };
    let answers = answered["answers"].as_array().context("no answers")?.iter().map(answer).collect::<Result<_, _>>()?;
    Ok(Answers { version: answered["version"].as_str().unwrap_or_default().to_owned(), answers })
}
