//! The status document as a page of text. Pure.
//!
//! `dae status --json` prints the daemon's document as it is; `dae status` prints it as
//! this module lays it out: scalars first, then an indented block per object, then a table
//! per list of objects. No field is named here, so none can be forgotten.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Lays out a status document for a terminal.
pub fn render(status: &Value) -> String {
    let mut page = String::new();
    if let Value::Object(fields) = status {
        block(&mut page, fields, 0);
    }
    page
}

fn block(page: &mut String, fields: &Map<String, Value>, indent: usize) {
    let width = fields.keys().map(String::len).max().unwrap_or(0);
    for (key, value) in fields.iter().filter(|(_, value)| is_scalar(value)) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(page, "{:indent$}{key:width$}  {}", "", scalar(value));
    }
    for (key, value) in fields.iter().filter(|(_, value)| !is_scalar(value)) {
        let _ = writeln!(page, "{:indent$}{key}", "");
        match value {
            Value::Object(inner) => block(page, inner, indent + 2),
            Value::Array(rows) => table(page, rows, indent + 2),
            _ => {}
        }
    }
}

fn table(page: &mut String, rows: &[Value], indent: usize) {
    let Some(Value::Object(first)) = rows.first() else {
        let words: Vec<String> = rows.iter().map(scalar).collect();
        let words = if words.is_empty() {
            "-".to_owned()
        } else {
            words.join(" ")
        };
        let _ = writeln!(page, "{:indent$}{words}", "");
        return;
    };
    let columns: Vec<&String> = first.keys().collect();
    let mut lines = vec![
        columns
            .iter()
            .map(|column| column.to_string())
            .collect::<Vec<_>>(),
    ];
    for row in rows {
        lines.push(
            columns
                .iter()
                .map(|column| scalar(&row[column.as_str()]))
                .collect(),
        );
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| {
            lines
                .iter()
                .map(|line| line[at].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for line in lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        let _ = writeln!(page, "{:indent$}{}", "", cells.join("  ").trim_end());
    }
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Object(_) | Value::Array(_))
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_then_blocks_then_tables() {
        let page = render(&json!({
            "devices": [{"device": "br-lan", "hook": "tcx"}],
            "dns": {"cached": 5, "upstreams": [{"name": "main", "sent": 12}], "queries": 7},
            "nobody": [],
            "uptime_s": 3,
            "version": "0.1.0",
        }));
        assert_eq!(
            page,
            "uptime_s  3\n\
             version   0.1.0\n\
             devices\n  device  hook\n  br-lan  tcx\n\
             dns\n  cached     5\n  queries    7\n  upstreams\n    name  sent\n    main  12\n\
             nobody\n  -\n"
        );
    }
}
