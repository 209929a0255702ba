//! What PostgreSQL calls the columns of a query that gives them no name: `count`, where DataFusion says `count(*)`.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Ident, ObjectName, Query, Select, SelectItem, SetExpr, VisitMut, VisitorMut,
};

/// Names for the columns of a query: where there is one, it replaces that of the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// From the first column on, up to the first `*`.
    first: Vec<Option<String>>,
    /// From the last column back, down to the last `*`.
    last: Vec<Option<String>>,
}

impl Names {
    /// The name of the column at `index` of `count`, where the query leaves it to PostgreSQL.
    pub(super) fn get(&self, index: usize, count: usize) -> Option<&str> {
        let from_end = || self.last.get(count.checked_sub(index + 1)?);
        self.first.get(index).or_else(from_end)?.as_deref()
    }
}

/// Names of the outermost columns. Makes the others usable by PostgreSQL's names from outside of their own query, and gives
/// those that occur twice, which DataFusion refuses, names of their own.
pub(super) fn resolve(query: &mut Query) -> Names {
    let names = outermost(query);
    if let Some(select) = first_select(&mut query.body) {
        distinguish(select);
    }
    if let Some(with) = &mut query.with {
        for table in &mut with.cte_tables {
            name_inner(&mut table.query);
        }
    }
    let _ = query.body.visit(&mut Inner);
    names
}

fn outermost(query: &mut Query) -> Names {
    let Some(select) = first_select(&mut query.body) else { return Names::default() };
    let is_star = |item: &&SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let name = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => Some(name_of(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    };
    let first = select.projection.iter().take_while(|item| !is_star(item)).map(name).collect::<Vec<_>>();
    let last = match first.len() == select.projection.len() {
        true => Vec::new(),
        false => select.projection.iter().rev().take_while(|item| !is_star(item)).map(name).collect(),
    };
    Names { first, last }
}

fn first_select(body: &mut SetExpr) -> Option<&mut Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&mut query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// The name that PostgreSQL gives to an expression (`FigureColname` in its source).
fn name_of(expr: &Expr) -> String {
    let name = match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::CompoundIdentifier(idents) => idents.last().map(folded),
        Expr::Function(function) => last(&function.name),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => return name_of(inner),
        Expr::Cast { expr: inner, data_type, .. } => match name_of(inner) {
            name if name == NAMELESS => Some(type_name(data_type)),
            name => Some(name),
        },
        Expr::CompoundFieldAccess { root, .. } => return name_of(root),
        Expr::Case { else_result, .. } => match else_result.as_deref().map(name_of) {
            Some(name) if name != NAMELESS => Some(name),
            _ => Some("case".to_owned()),
        },
        Expr::Extract { .. } => Some("extract".to_owned()),
        Expr::Exists { .. } => Some("exists".to_owned()),
        Expr::Array(_) => Some("array".to_owned()),
        Expr::Ceil { .. } => Some("ceil".to_owned()),
        Expr::Floor { .. } => Some("floor".to_owned()),
        Expr::Position { .. } => Some("position".to_owned()),
        Expr::Substring { .. } => Some("substring".to_owned()),
        Expr::Trim { .. } => Some("btrim".to_owned()),
        Expr::Interval(_) => Some("interval".to_owned()),
        Expr::TypedString(typed) => Some(type_name(&typed.data_type)),
        Expr::AtTimeZone { .. } => Some("timezone".to_owned()),
        Expr::Subquery(query) => return subquery_name(query),
        _ => None,
    };
    name.unwrap_or_else(|| NAMELESS.to_owned())
}

/// What PostgreSQL calls what it has no name for.
const NAMELESS: &str = "?column?";

fn subquery_name(query: &Query) -> String {
    let SetExpr::Select(select) = query.body.as_ref() else { return NAMELESS.to_owned() };
    match select.projection.first() {
        Some(SelectItem::UnnamedExpr(expr)) => name_of(expr),
        Some(SelectItem::ExprWithAlias { alias, .. }) => folded(alias),
        _ => NAMELESS.to_owned(),
    }
}

fn type_name(data_type: &DataType) -> String {
    let text = data_type.to_string().to_ascii_lowercase();
    match text.as_str() {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "boolean" => "bool",
        "double precision" | "double" => "float8",
        "real" => "float4",
        "character varying" => "varchar",
        text if text.starts_with("timestamp with time zone") => "timestamptz",
        text => text.rsplit('.').next().unwrap_or(text).split('(').next().unwrap_or(text),
    }
    .to_owned()
}

/// A name without quotes is in lower case.
fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

fn last(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(folded)
}

/// Gives what occurs a second time a name of its own. The names that clients see are kept apart.
fn distinguish(select: &mut Select) {
    let mut seen = HashSet::new();
    for (index, item) in select.projection.iter_mut().enumerate() {
        let (expr, text) = match item {
            SelectItem::UnnamedExpr(expr) => (expr.clone(), expr.to_string()),
            SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), alias.to_string()),
            _ => continue,
        };
        if !seen.insert(text.clone()) {
            let alias = Ident::with_quote('"', format!("{text}:{index}"));
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
}

struct Inner;

impl VisitorMut for Inner {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        name_inner(query);
        ControlFlow::Continue(())
    }
}

/// Functions get their names where that is unambiguous. Columns keep theirs, and nothing else can be referred to.
fn name_inner(query: &mut Query) {
    let Some(select) = first_select(&mut query.body) else { return };
    let named = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => Some(name_of(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    };
    let names: Vec<_> = select.projection.iter().map(named).collect();
    for (item, name) in select.projection.iter_mut().zip(&names) {
        let SelectItem::UnnamedExpr(expr @ Expr::Function(_)) = item else { continue };
        let Some(name) = name.as_ref().filter(|name| names.iter().flatten().filter(|other| other == name).count() == 1)
        else {
            continue;
        };
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name) };
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn names(sql: &str, count: usize) -> (Vec<String>, String) {
        let Statement::Query(mut query) = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0) else {
            panic!("{sql} is no query");
        };
        let names = resolve(&mut query);
        ((0..count).map(|index| names.get(index, count).unwrap_or("*").to_owned()).collect(), query.to_string())
    }

    #[test]
    fn columns_are_called_as_postgresql_calls_them() {
        let check = |sql: &str, expected: &[&str]| assert_eq!(names(sql, expected.len()).0, expected, "{sql}");
        check(
            "SELECT count(*), max(x) AS Most, a.b, 1, x + 1, 'a'",
            &["count", "most", "b", "?column?", "?column?", "?column?"],
        );
        check("SELECT '1'::int, x::text, CASE WHEN a THEN 1 END", &["int4", "x", "case"]);
        check("SELECT extract(epoch from t), floor(x), \"Quoted\"", &["extract", "floor", "Quoted"]);
        check("SELECT count(*), r.*, sum(x) FROM r", &["count", "*", "*", "sum"]);
        check("SELECT current_setting('x')::int/100 AS version", &["version"]);
    }

    #[test]
    fn inner_columns_can_be_used_by_those_names_and_doubles_are_told_apart() {
        assert_eq!(
            names("SELECT count FROM (SELECT count(*), a FROM r) t", 1).1,
            "SELECT count FROM (SELECT count(*) AS \"count\", a FROM r) t"
        );
        assert_eq!(names("SELECT 1, 1", 2).1, "SELECT 1, 1 AS \"1:1\"");
    }
}
