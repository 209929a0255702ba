//! How commands print: a table for people, JSON and CSV for programs.

use std::io::{self, Write as _};

use arrow::array::Array as _;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Format of a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns
    Table,
    /// JSON
    Json,
    /// Comma separated values with a header line
    Csv,
}

/// One printed column: its cells, and whether they are numbers, which align to the right.
pub(crate) struct Cells {
    pub(crate) cells: Vec<String>,
    pub(crate) is_number: bool,
}

/// Prints batches as a table in the manner of `psql`, with the number of rows below.
pub(crate) fn table(batches: &[RecordBatch]) -> anyhow::Result<()> {
    let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    let count = if rows == 1 { "(1 row)".to_owned() } else { format!("({rows} rows)") };
    Ok(writeln!(io::stdout(), "{}{count}", render(batches)?)?)
}

/// The table as text; nothing where there is not even a schema.
pub(crate) fn render(batches: &[RecordBatch]) -> anyhow::Result<String> {
    let Some(first) = batches.first() else { return Ok(String::new()) };
    let columns = (0..first.num_columns()).map(|index| column(batches, index)).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<_> = first.schema().fields().iter().map(|field| shown(field.name())).collect();
    Ok(layout(&names, &columns, batches.iter().map(RecordBatch::num_rows).sum()))
}

fn column(batches: &[RecordBatch], index: usize) -> anyhow::Result<Cells> {
    let options = FormatOptions::default().with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.6f"));
    let mut cells = Vec::new();
    for batch in batches {
        let array = batch.column(index);
        let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
        for row in 0..array.len() {
            cells.push(if array.is_null(row) { String::new() } else { shown(&formatter.value(row).try_to_string()?) });
        }
    }
    let is_number =
        batches[0].column(index).data_type().is_numeric() || is_decimal(batches[0].column(index).data_type());
    Ok(Cells { cells, is_number })
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..))
}

/// Columns beside each other below their names.
pub(crate) fn layout(names: &[String], columns: &[Cells], rows: usize) -> String {
    let widths: Vec<usize> = names
        .iter()
        .zip(columns)
        .map(|(name, column)| {
            column.cells.iter().map(|cell| cell.chars().count()).fold(name.chars().count(), usize::max)
        })
        .collect();
    let mut text = String::new();
    let line = |cells: &mut dyn Iterator<Item = (&str, bool)>, text: &mut String| {
        let cells: Vec<_> = cells.zip(&widths).map(|((cell, right), width)| pad(cell, *width, right)).collect();
        text.push_str(format!(" {}", cells.join(" | ")).trim_end());
        text.push('\n');
    };
    line(&mut names.iter().map(|name| (name.as_str(), false)), &mut text);
    text.push_str(&widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("+"));
    text.push('\n');
    for row in 0..rows {
        line(&mut columns.iter().map(|column| (column.cells[row].as_str(), column.is_number)), &mut text);
    }
    text
}

fn pad(cell: &str, width: usize, right: bool) -> String {
    if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
}

/// A text as a terminal may see it: what it would obey is not shown to it, as strangers choose paths, names and headers.
pub(crate) fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_align_right_and_text_left() {
        let column =
            |cells: &[&str], is_number| Cells { cells: cells.iter().map(|c| (*c).to_owned()).collect(), is_number };
        let names = ["source".to_owned(), "n".to_owned()];
        let text = layout(&names, &[column(&["shop/storefront", ""], false), column(&["7", "1200"], true)], 2);
        assert_eq!(
            text,
            " source          | n\n-----------------+------\n shop/storefront |    7\n                 | 1200\n"
        );
    }

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        let names: arrow::array::ArrayRef =
            std::sync::Arc::new(arrow::array::StringArray::from(vec!["a\u{1b}]52;c;\u{7}b"]));
        let batch = RecordBatch::try_from_iter([("x\u{1b}[2J", names)]).unwrap();
        let text = render(&[batch]).unwrap();
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.contains("a\u{fffd}]52;c;\u{fffd}b"), "{text:?}");
    }
}
