//! The query log as lines of text. Pure.

use serde_json::Value;

use super::table;

/// What to do when there is nothing to show.
const OFF: &str = "the query log is off: write option query_log '100' (lines to keep) into \
                   section dns, then run dae reload\n";

/// Lays out the daemon's answer to `queries`, the oldest query first.
pub fn render(answer: &Value) -> String {
    if answer["bound"].as_u64().unwrap_or(0) == 0 {
        return OFF.to_owned();
    }
    let heading = [
        "ago",
        "client",
        "name",
        "type",
        "answered by",
        "rcode",
        "took",
    ];
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    let now = answer["now"].as_f64().unwrap_or(0.0);
    let rows = answer["lines"].as_array();
    lines.extend(rows.into_iter().flatten().map(|row| line(row, now)));
    let mut page = String::new();
    table::append(&mut page, &lines, 0);
    page
}

fn line(row: &Value, now: f64) -> Vec<String> {
    let word = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let name = match row["name"].as_str() {
        Some("") => ".".to_owned(),
        _ => word("name"),
    };
    let by = match row["upstream"].as_str() {
        Some(upstream) => format!("upstream {upstream}"),
        None => word("outcome"),
    };
    let ago = (now - row["at"].as_f64().unwrap_or(now)).max(0.0);
    let took = row["ms"].as_u64().unwrap_or(0);
    vec![
        format!("{ago:.1} s"),
        word("client"),
        name,
        word("type"),
        by,
        word("rcode"),
        format!("{took} ms"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_for_each_query() {
        let page = render(&json!({"bound": 9, "now": 75.25, "lines": [
            {"at": 1.0, "client": "192.0.2.1", "name": "www.example", "type": "AAAA",
             "outcome": "upstream", "upstream": "main", "rcode": "NXDOMAIN", "ms": 121},
            {"at": 75.0, "client": "2001:db8::1", "name": "", "type": "NS",
             "outcome": "cache", "upstream": null, "rcode": "NOERROR", "ms": 0},
        ]}));
        assert_eq!(
            page,
            "   ago  client       name         type  answered by    rcode       took\n\
             74.2 s  192.0.2.1    www.example  AAAA  upstream main  NXDOMAIN  121 ms\n\
             \x200.2 s  2001:db8::1  .            NS    cache          NOERROR     0 ms\n"
        );
    }

    #[test]
    fn without_lines_it_says_why() {
        let off = render(&json!({"bound": 0, "now": 1.0, "lines": []}));
        assert!(off.contains("option query_log '100'"), "{off}");
        let none = render(&json!({"bound": 5, "now": 1.0, "lines": []}));
        assert_eq!(none, "ago  client  name  type  answered by  rcode  took\n");
    }
}
