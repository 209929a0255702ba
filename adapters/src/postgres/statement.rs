//! From text to statements. Only queries go on to the engine; what else clients say, about transactions and settings, is
//! answered here, and anything that would change something is refused.

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    self, CopyOption, CopySource, CopyTarget, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Reset, Set, Value,
    VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::pgwire::api::{ClientInfo, METADATA_USER};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};

use super::error::error;
use super::names::{self, Names};
use super::settings;

/// Longest text of a message.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// One statement of a client.
#[derive(Debug, Clone)]
pub(super) enum Statement {
    /// A query, or the explanation of one.
    Query(Syntax, Names),
    /// A query whose rows are wanted as `COPY` sends them.
    Copy(Syntax, CopyFormat),
    /// `SET`, or `RESET` where there is no value.
    Set(String, Option<String>),
    /// `RESET ALL` or `DISCARD ALL`, and the word that acknowledges it.
    ResetAll(&'static str),
    /// `SHOW`; all settings where there is no name.
    Show(Option<String>),
    /// `BEGIN`.
    Begin,
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK`.
    Rollback,
    /// `DEALLOCATE`; all prepared statements where there is no name.
    Deallocate(Option<String>),
    /// Nothing to do but acknowledging it with this word.
    Done(&'static str),
}

/// A query's syntax tree. Its type is kept from those who pass it on: the compiler would prove of every part of it, in each of
/// the protocol's generic functions anew, that it can be sent to another thread.
#[derive(Clone)]
pub(super) struct Syntax(Arc<dyn Tree>);

trait Tree: Send + Sync {
    fn get(&self) -> &ast::Statement;
}

impl Tree for ast::Statement {
    fn get(&self) -> &ast::Statement {
        self
    }
}

impl Syntax {
    /// A copy, to be planned.
    pub(super) fn statement(&self) -> ast::Statement {
        self.0.get().clone()
    }
}

impl fmt::Debug for Syntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.get())
    }
}

/// How `COPY` writes rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CopyFormat {
    Text,
    Csv { has_header: bool },
    Binary,
}

/// What a client is, for functions that ask.
pub(super) struct Facts {
    user: String,
    pid: i32,
    metadata: HashMap<String, String>,
}

impl Facts {
    pub(super) fn of(client: &(impl ClientInfo + ?Sized)) -> Self {
        let user = client.metadata().get(METADATA_USER).cloned().unwrap_or_default();
        Self { user, pid: client.pid_and_secret_key().0, metadata: client.metadata().clone() }
    }
}

/// The statements of a text. None at all is an empty query.
pub(super) fn parse(parser: &PostgresCompatibilityParser, text: &str, facts: &Facts) -> PgWireResult<Vec<Statement>> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the query has {} bytes, at most {TEXT_BYTES_MAX} are read", text.len());
        return Err(error("54000", message));
    }
    let replaced = with_search_path(text);
    let parsed = parser.parse(replaced.as_deref().unwrap_or(text)).map_err(|error| syntax(text, &error))?;
    parsed.into_iter().map(|statement| one(statement, facts)).collect()
}

fn one(statement: ast::Statement, facts: &Facts) -> PgWireResult<Statement> {
    use ast::Statement as Ast;
    Ok(match statement {
        Ast::Query(mut query) => {
            let names = names::resolve(&mut query);
            query_of(Ast::Query(query), names, facts)?
        }
        Ast::Explain { .. } => query_of(statement, Names::default(), facts)?,
        Ast::Copy { source, to, target, options, .. } => copy(source, to, &target, &options, facts)?,
        Ast::Set(set) => set_of(set)?,
        Ast::Reset(reset) => match reset.reset {
            Reset::ALL => Statement::ResetAll("RESET"),
            Reset::ConfigurationParameter(name) => Statement::Set(name.to_string(), None),
        },
        Ast::Discard { .. } => Statement::ResetAll("DISCARD ALL"),
        Ast::ShowVariable { variable } => show(&variable.iter().map(|part| part.value.as_str()).collect::<Vec<_>>()),
        Ast::StartTransaction { .. } => Statement::Begin,
        Ast::Commit { .. } => Statement::Commit,
        Ast::Rollback { savepoint: None, .. } => Statement::Rollback,
        Ast::Rollback { .. } => Statement::Done("ROLLBACK"),
        Ast::Savepoint { .. } => Statement::Done("SAVEPOINT"),
        Ast::ReleaseSavepoint { .. } => Statement::Done("RELEASE"),
        Ast::Deallocate { name, .. } => {
            let is_all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
            Statement::Deallocate((!is_all).then_some(name.value))
        }
        Ast::Close { .. } => Statement::Done("CLOSE CURSOR ALL"),
        Ast::UNLISTEN { .. } => Statement::Done("UNLISTEN"),
        Ast::LISTEN { .. } | Ast::NOTIFY { .. } => return Err(error("0A000", "there are no notifications")),
        Ast::Declare { .. } | Ast::Fetch { .. } => {
            return Err(error(
                "0A000",
                "cursors in SQL are not supported; fetch with a portal, or with LIMIT and OFFSET",
            ));
        }
        _ => return Err(error("25006", "only queries are answered: nothing can be changed with SQL")),
    })
}

fn query_of(mut statement: ast::Statement, names: Names, facts: &Facts) -> PgWireResult<Statement> {
    match statement.visit(&mut Answers(facts)) {
        ControlFlow::Continue(()) => Ok(Statement::Query(Syntax(Arc::new(statement)), names)),
        ControlFlow::Break(error) => Err(*error),
    }
}

fn copy(
    source: CopySource,
    to: bool,
    target: &CopyTarget,
    options: &[CopyOption],
    facts: &Facts,
) -> PgWireResult<Statement> {
    if !to {
        return Err(error("25006", "only queries are answered: rows are taken from reporters and by Arrow Flight"));
    }
    if !matches!(target, CopyTarget::Stdout) {
        return Err(error("0A000", "COPY writes to STDOUT only"));
    }
    let query = match source {
        CopySource::Query(query) => query,
        CopySource::Table { table_name, columns } => {
            let columns: Vec<_> = columns.iter().map(ToString::to_string).collect();
            let columns = if columns.is_empty() { "*".to_owned() } else { columns.join(", ") };
            let text = format!("SELECT {columns} FROM {table_name}");
            let parsed = Parser::parse_sql(&PostgreSqlDialect {}, &text).map_err(|error| syntax(&text, &error))?;
            match parsed.into_iter().next() {
                Some(ast::Statement::Query(query)) => query,
                _ => return Err(error("42601", "COPY needs a table or a query")),
            }
        }
    };
    let format = options.iter().find_map(|option| match option {
        CopyOption::Format(name) => Some(name.value.to_ascii_lowercase()),
        _ => None,
    });
    let has_header = options.iter().any(|option| matches!(option, CopyOption::Header(true)));
    let format = match format.as_deref() {
        None | Some("text") => CopyFormat::Text,
        Some("csv") => CopyFormat::Csv { has_header },
        Some("binary") => CopyFormat::Binary,
        Some(other) => return Err(error("22023", format!("COPY format \"{other}\" not recognized"))),
    };
    match query_of(ast::Statement::Query(query), Names::default(), facts)? {
        Statement::Query(query, _) => Ok(Statement::Copy(query, format)),
        other => Ok(other),
    }
}

fn set_of(set: Set) -> PgWireResult<Statement> {
    Ok(match set {
        Set::SingleAssignment { variable, values, .. } => {
            let values: Vec<_> = values.iter().map(setting_text).collect();
            let value = Some(values.join(", ")).filter(|value| !value.eq_ignore_ascii_case("default"));
            Statement::Set(variable.to_string(), value)
        }
        Set::SetTimeZone { value, .. } => Statement::Set("TimeZone".to_owned(), Some(setting_text(&value))),
        Set::SetNames { charset_name, .. } => Statement::Set("client_encoding".to_owned(), Some(charset_name.value)),
        Set::SetTransaction { .. } => Statement::Done("SET"),
        _ => return Err(error("0A000", "only settings of the connection can be set")),
    })
}

fn setting_text(value: &Expr) -> String {
    match value {
        Expr::Value(value) => value.value.clone().into_string().unwrap_or_else(|| value.to_string()),
        Expr::Identifier(ident) => ident.value.clone(),
        other => other.to_string(),
    }
}

fn show(words: &[&str]) -> Statement {
    let words: Vec<_> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["all"] => Statement::Show(None),
        ["time", "zone"] => Statement::Show(Some("TimeZone".to_owned())),
        ["transaction", "isolation", "level"] => Statement::Show(Some("transaction_isolation".to_owned())),
        ["session", "authorization"] => Statement::Show(Some("session_authorization".to_owned())),
        words => Statement::Show(Some(words.join("."))),
    }
}

/// What the catalog has none of: sequences, collations of columns, and defaults. Clients ask for them row by row, in queries
/// within queries that DataFusion cannot plan.
const NOTHING: [&str; 4] = ["pg_sequence", "pg_collation", "pg_attrdef", "typcollation"];

/// Puts what depends on the connection into its queries.
struct Answers<'a>(&'a Facts);

impl VisitorMut for Answers<'_> {
    type Break = Box<PgWireError>;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::BinaryOp { left, right, .. } = expr {
            compare_procedures(left, right);
        }
        if let Expr::Subquery(query) = expr {
            let query = query.to_string();
            if NOTHING.iter().any(|name| query.contains(name)) {
                *expr = Expr::value(Value::Null);
            }
        }
        escape_with_backslash(expr);
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let Some(name) = function.name.0.last().and_then(|part| part.as_ident()) else {
            return ControlFlow::Continue(());
        };
        let value = match name.value.to_ascii_lowercase().as_str() {
            "current_user" | "session_user" | "user" | "current_role" => Some(self.0.user.clone()),
            "unnest" | "generate_subscripts" if is_of_keys(function) => {
                *expr = Expr::value(Value::Null);
                return ControlFlow::Continue(());
            }
            "array" if matches!(function.args, FunctionArguments::Subquery(_)) => {
                if let Some(array) = array_of(function) {
                    *expr = array;
                }
                return ControlFlow::Continue(());
            }
            "pg_backend_pid" => {
                *expr = Expr::value(Value::Number(self.0.pid.to_string(), false));
                return ControlFlow::Continue(());
            }
            "set_config" => texts(&function.args).into_iter().nth(1).flatten(),
            "current_setting" => {
                let arguments = texts(&function.args);
                let is_missing_fine = arguments.len() > 1;
                match arguments.into_iter().next().flatten() {
                    Some(name) => match settings::get(&self.0.metadata, &name) {
                        Some(value) => Some(value),
                        None if is_missing_fine => {
                            *expr = Expr::value(Value::Null);
                            return ControlFlow::Continue(());
                        }
                        None => return ControlFlow::Break(Box::new(unknown_setting(&name))),
                    },
                    None => None,
                }
            }
            _ => None,
        };
        if let Some(value) = value {
            *expr = Expr::value(Value::SingleQuotedString(value));
        }
        ControlFlow::Continue(())
    }
}

/// Columns of numbers of columns, in tables of the catalog that have no rows here: there are no keys and no indexes.
const KEYS: [&str; 5] = ["conkey", "confkey", "indkey", "indclass", "indoption"];

fn is_of_keys(function: &ast::Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    let Some(first) = list.args.first().map(ToString::to_string) else { return false };
    KEYS.iter().any(|key| first == *key || first.ends_with(&format!(".{key}")))
}

/// `LIKE … ESCAPE '/'` with a backslash instead, which is what DataFusion knows.
fn escape_with_backslash(expr: &mut Expr) {
    let (Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. }) = expr else { return };
    let Some(escape) = escape_char.as_ref().and_then(|escape| escape.value.clone().into_string()) else { return };
    if escape.chars().count() != 1 || escape == "\\" || escape == "'" {
        return;
    }
    let text = format!("replace(replace({pattern}, '\\', '\\\\'), '{escape}', '\\')");
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(&text).and_then(|mut parser| parser.parse_expr());
    if let Ok(replaced) = parsed {
        (**pattern, *escape_char) = (replaced, None);
    }
}

/// The catalog shows procedures by name, as PostgreSQL prints them; none, which is 0 to those who compare, is printed as `-`.
fn compare_procedures(left: &Expr, right: &mut Expr) {
    const PROCEDURES: [&str; 4] = ["typinput", "typoutput", "typreceive", "typsend"];
    let name = match left {
        Expr::Identifier(ident) => Some(ident),
        Expr::CompoundIdentifier(idents) => idents.last(),
        _ => None,
    };
    let is_zero =
        matches!(right, Expr::Value(value) if matches!(&value.value, Value::Number(number, _) if number == "0"));
    if is_zero && name.is_some_and(|name| PROCEDURES.contains(&name.value.to_ascii_lowercase().as_str())) {
        *right = Expr::value(Value::SingleQuotedString("-".to_owned()));
    }
}

/// `ARRAY(SELECT …)` as an aggregate, which DataFusion has. Where clients ask the catalog so, for options and members, there
/// are none.
fn array_of(function: &ast::Function) -> Option<Expr> {
    let FunctionArguments::Subquery(query) = &function.args else { return None };
    let query = query.to_string();
    let text = match query.contains("pg_catalog.") || query.contains("unnest(") {
        true => "NULL::text[]".to_owned(),
        false => format!("(SELECT array_agg(item) FROM ({query}) AS items(item))"),
    };
    Parser::new(&PostgreSqlDialect {}).try_with_sql(&text).ok()?.parse_expr().ok()
}

/// The error for a setting that does not exist.
pub(super) fn unknown_setting(name: &str) -> PgWireError {
    error("42704", format!("unrecognized configuration parameter \"{name}\""))
}

/// The arguments, where they are literal texts.
fn texts(arguments: &FunctionArguments) -> Vec<Option<String>> {
    let FunctionArguments::List(list) = arguments else { return Vec::new() };
    let text = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => value.value.clone().into_string(),
        _ => None,
    };
    list.args.iter().map(text).collect()
}

/// How Grafana asks for the schemas of the search path, in a shape that DataFusion has no plan for. The answer is one schema.
const SEARCH_PATH: &str = r#"SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END FROM generate_series(
    array_lower(string_to_array(current_setting('search_path'),','),1),
    array_upper(string_to_array(current_setting('search_path'),','),1)) as i,
    string_to_array(current_setting('search_path'),',') s"#;

/// The text with the question of [`SEARCH_PATH`] answered, where it is asked.
fn with_search_path(text: &str) -> Option<String> {
    if !text.contains("generate_series") || !text.contains("search_path") {
        return None;
    }
    let tokens = |text: &str| -> Option<Vec<Token>> {
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize().ok()?;
        Some(tokens.into_iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect())
    };
    let (tokens, question) = (tokens(text)?, tokens(SEARCH_PATH)?);
    let mut answered = Vec::with_capacity(tokens.len());
    let mut rest = tokens.as_slice();
    while let Some((token, after)) = rest.split_first() {
        if rest.starts_with(&question) {
            answered.push("'public'".to_owned());
            rest = &rest[question.len()..];
        } else {
            answered.push(token.to_string());
            rest = after;
        }
    }
    Some(answered.join(" "))
}

/// The parser's words about the text as it was written, with the place where it stopped.
fn syntax(text: &str, rewritten: &ParserError) -> PgWireError {
    let original = Parser::parse_sql(&PostgreSqlDialect {}, text).err();
    let message = original.as_ref().unwrap_or(rewritten).to_string();
    let message = message.trim_start_matches("sql parser error: ");
    let (message, place) = message.split_once(" at Line: ").unwrap_or((message, ""));
    let mut info = ErrorInfo::new("ERROR".to_owned(), "42601".to_owned(), format!("syntax error: {message}"));
    let mut numbers = place.split(", Column: ").map(|number| number.trim().parse::<usize>().ok());
    if original.is_some()
        && let Some((line, column)) = numbers.next().flatten().zip(numbers.next().flatten())
    {
        let before: usize =
            text.split_inclusive('\n').take(line.saturating_sub(1)).map(|line| line.chars().count()).sum();
        info.position = Some((before + column).to_string());
    }
    PgWireError::UserError(Box::new(info))
}
