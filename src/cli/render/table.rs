//! Tables without borders, two blanks between columns: they line up for people and split on blanks for scripts.

use comfy_table::{ContentArrangement, Table};

use super::style::{BOLD, Painted};

/// What stands where there is nothing to say.
pub const NONE: &str = "-";

/// A table with these headings; only the heading line when there are no rows.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.to_vec());
    for row in rows {
        // A line end in a value (a path may have one) would tear the row apart.
        table.add_row(row.iter().map(|cell| cell.replace(['\n', '\t'], "?")).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let (head, body) = lines.split_first().map_or(("", &[][..]), |(head, body)| (head.as_str(), body));
    let mut text = Painted(BOLD, head).to_string();
    for line in body {
        text.push('\n');
        text.push_str(line);
    }
    text
}

/// A value, or `-`.
pub fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}
