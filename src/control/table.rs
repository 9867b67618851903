//! Cells in columns. Pure.

use serde_json::Value;

/// A value as a cell; `-` for none.
pub fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Appends lines of cells, the heading first, each column as wide as its widest cell. Columns
/// of numbers are flush right.
pub fn append(page: &mut String, lines: &[Vec<String>], indent: usize) {
    let Some(heading) = lines.first() else { return };
    let columns: Vec<(usize, bool)> = (0..heading.len())
        .map(|at| {
            let cells = || lines.iter().filter_map(move |line| line.get(at));
            let width = cells().map(|cell| cell.chars().count()).max();
            let mut values = cells().skip(1).filter(|cell| *cell != "-").peekable();
            let numbers = values.peek().is_some() && values.all(|cell| is_number(cell));
            (width.unwrap_or(0), numbers)
        })
        .collect();
    for line in lines {
        let cells = line.iter().zip(&columns).map(|(cell, &(width, number))| {
            if number {
                format!("{cell:>width$}")
            } else {
                format!("{cell:width$}")
            }
        });
        let cells: Vec<String> = cells.collect();
        page.push_str(&" ".repeat(indent));
        page.push_str(cells.join("  ").trim_end());
        page.push('\n');
    }
}

/// With the unit of a time or without, or two with a slash.
fn is_number(cell: &str) -> bool {
    let number = cell.strip_suffix(" ms").or(cell.strip_suffix(" s"));
    let mut numbers = number.unwrap_or(cell).split('/');
    numbers.all(|number| number.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_left_and_numbers_right() {
        let line = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
        let mut page = String::new();
        let lines = [
            line(["name", "sent", "latency", "none", "address"]),
            line(["a", "7", "12.5 ms", "-", "192.0.2.1"]),
            line(["long", "12/34", "-", "-", "2001:db8::1"]),
        ];
        append(&mut page, &lines, 2);
        assert_eq!(
            page,
            "  name   sent  latency  none  address\n\
             \x20 a         7  12.5 ms  -     192.0.2.1\n\
             \x20 long  12/34        -  -     2001:db8::1\n"
        );
    }
}
