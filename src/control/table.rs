//! Cells in columns. Pure.

/// Appends lines of cells, the heading first, each column as wide as its widest cell. Columns
/// of numbers are flush right.
pub fn append(page: &mut String, lines: &[Vec<String>], indent: usize) {
    let Some(heading) = lines.first() else { return };
    let columns: Vec<(usize, bool)> = (0..heading.len())
        .map(|at| {
            let cells = || lines.iter().filter_map(move |line| line.get(at));
            let width = cells().map(|cell| cell.chars().count()).max();
            (
                width.unwrap_or(0),
                cells().skip(1).all(|cell| is_number(cell)),
            )
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

/// With the unit of a time or without, or nothing known.
fn is_number(cell: &str) -> bool {
    let number = cell.strip_suffix(" ms").or(cell.strip_suffix(" s"));
    cell == "-" || number.unwrap_or(cell).parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_left_and_numbers_right() {
        let line = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let mut page = String::new();
        let lines = [
            line(["name", "sent", "latency", "address"]),
            line(["a", "7", "12.5 ms", "192.0.2.1"]),
            line(["long", "1234", "-", "2001:db8::1"]),
        ];
        append(&mut page, &lines, 2);
        assert_eq!(
            page,
            "  name  sent  latency  address\n\
             \x20 a        7  12.5 ms  192.0.2.1\n\
             \x20 long  1234        -  2001:db8::1\n"
        );
    }
}
