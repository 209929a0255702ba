//! The SQL shell.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Instant;

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Context, Editor, Helper};
use tokio::runtime::Runtime;
use tollgate_attributes::ATTRIBUTES;

use super::print;
use crate::output::Format;

const HELP: &str = "\
End a query with `;`. `\\d` lists the tables, `\\d TABLE` the columns of one, `\\q` or Ctrl-D leaves.
Keys: Tab completes, Up and Down walk the history, Ctrl-R searches it.";

const KEYWORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "HAVING",
    "DESC",
    "COUNT(*)",
    "AVG(",
    "SUM(",
    "MIN(",
    "MAX(",
    "approx_percentile_cont(",
    "date_bin(",
    "now()",
    "INTERVAL",
    "DISTINCT",
    "BETWEEN",
    "IS NULL",
    "IS NOT NULL",
    "array_has(",
    "encode(",
    "DESCRIBE",
    "SHOW TABLES",
    "EXPLAIN ANALYZE",
];

/// Reads queries until the user leaves. An error of one query is printed, and the shell goes on.
pub(super) fn run(runtime: &Runtime, engine: &str, format: Format) -> anyhow::Result<()> {
    let tables = runtime.block_on(tables(engine))?;
    let config = Config::builder().auto_add_history(true).max_history_size(1_000)?.build();
    let mut editor: Editor<Sql, FileHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Sql::new(tables)));
    let history = history_file();
    if let Some(file) = &history {
        // A history that is missing or unreadable is an empty one.
        let _ = editor.load_history(file);
    }

    println!("tollgate {} at {engine}; \\? for help", env!("CARGO_PKG_VERSION"));
    loop {
        match editor.readline("tollgate> ") {
            Ok(line) => match line.trim().trim_end_matches(';').trim() {
                "" => {}
                "\\q" | "exit" | "quit" => break,
                "\\?" | "help" => println!("{HELP}"),
                query => answer(runtime, engine, &expand(query), format),
            },
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(file) = &history {
        let _ = editor.save_history(file);
    }
    Ok(())
}

fn answer(runtime: &Runtime, engine: &str, query: &str, format: Format) {
    let started = Instant::now();
    match runtime.block_on(print(engine, query, format)) {
        Ok(()) => println!("{:.1} ms", started.elapsed().as_secs_f64() * 1_000.0),
        Err(error) => println!("{error:#}"),
    }
}

/// The SQL for a backslash command, and everything else as it is.
fn expand(query: &str) -> Cow<'_, str> {
    match query.strip_prefix("\\d").map(str::trim) {
        Some("") => {
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY table_name".into()
        }
        Some(table) => format!("DESCRIBE {table}").into(),
        None => query.into(),
    }
}

async fn tables(engine: &str) -> anyhow::Result<Vec<String>> {
    let query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'";
    let json = crate::client::sql(engine, query, "application/json").await?;
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&json)?;
    Ok(rows.iter().filter_map(|row| row["table_name"].as_str()).map(str::to_owned).collect())
}

/// `$XDG_STATE_HOME/tollgate/sql_history`, or below `~/.local/state`.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let dir = state.or_else(home)?.join("tollgate");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir.join("sql_history"))
}

/// Completion of tables, columns and keywords; a query goes on over lines until its `;`.
struct Sql {
    tables: Vec<String>,
    /// Tables, columns and keywords.
    words: Vec<String>,
}

impl Sql {
    fn new(mut tables: Vec<String>) -> Self {
        tables.sort();
        let columns = ATTRIBUTES.iter().map(|attribute| attribute.name.to_owned());
        let keywords = KEYWORDS.iter().map(|word| (*word).to_owned());
        let mut words: Vec<_> = keywords.chain(tables.iter().cloned()).chain(columns).collect();
        words.sort();
        words.dedup();
        Self { tables, words }
    }

    /// What the word that is being typed after `before` may become: after `FROM` and the like only a table.
    fn candidates(&self, before: &str, typed: &str) -> impl Iterator<Item = &String> {
        let previous = before.split_whitespace().next_back().unwrap_or_default().to_uppercase();
        let is_table = matches!(previous.as_str(), "FROM" | "JOIN" | "DESCRIBE" | "\\D");
        let words = if is_table { &self.tables } else { &self.words };
        let typed = typed.to_lowercase();
        words.iter().filter(move |word| (is_table || !typed.is_empty()) && word.to_lowercase().starts_with(&typed))
    }
}

impl Helper for Sql {}
impl Highlighter for Sql {}

impl Hinter for Sql {
    type Hint = String;
}

impl Completer for Sql {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = &line[..position];
        let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
        let matches = self.candidates(&before[..start], &before[start..]);
        Ok((start, matches.map(|word| Pair { display: word.clone(), replacement: word.clone() }).collect()))
    }
}

impl Validator for Sql {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let input = context.input().trim();
        let is_command = input.starts_with('\\') || matches!(input, "" | "exit" | "quit" | "help");
        let is_whole = is_command || input.ends_with(';');
        Ok(if is_whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backslash_commands_become_sql() {
        assert!(expand("\\d").starts_with("SELECT table_name"));
        assert_eq!(expand("\\d requests"), "DESCRIBE requests");
        assert_eq!(expand("SELECT 1"), "SELECT 1");
    }

    #[test]
    fn only_tables_are_offered_where_a_table_stands() {
        let sql = Sql::new(vec!["requests".into(), "reporters".into()]);
        let offered = |before, typed| sql.candidates(before, typed).cloned().collect::<Vec<_>>();
        assert_eq!(offered("SELECT count(*) from ", "re"), ["reporters", "requests"]);
        assert_eq!(offered("SELECT ", "request_b"), ["request_bytes"]);
        assert_eq!(offered("SELECT ", ""), [""; 0]);
    }
}
