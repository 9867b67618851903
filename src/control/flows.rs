//! The flows that there are as lines of text. Pure.

use serde_json::Value;

use super::table;

/// Lays out the daemon's answer to `flows`, the newest first.
pub fn render(answer: &Value) -> String {
    let heading = [
        "age",
        "proto",
        "source",
        "host",
        "destination",
        "domain",
        "rule",
        "outbound",
        "node",
        "up",
        "down",
    ];
    let rows = answer["flows"].as_array().map_or(&[][..], Vec::as_slice);
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(line));
    let mut page = String::new();
    table::append(&mut page, &lines, 0);
    let total = answer["total"].as_u64().unwrap_or(0);
    if total > rows.len() as u64 {
        let most = answer["most"].as_u64().unwrap_or(0);
        page += &format!(
            "the newest {} of {total}; dae flows N shows up to {most}\n",
            rows.len()
        );
    }
    page
}

fn line(row: &Value) -> Vec<String> {
    let word = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let proto = match row["kind"].as_str() {
        Some(kind) if kind != "plain" => format!("{} {kind}", word("proto")),
        _ => word("proto"),
    };
    // While it is dialled there is none.
    let node = match row["node"].as_str() {
        Some(node) => node.to_owned(),
        None => "dialling".to_owned(),
    };
    vec![
        format!("{} s", row["age_s"]),
        proto,
        word("source"),
        word("host"),
        word("destination"),
        word("domain"),
        word("rule"),
        word("outbound"),
        node,
        row["bytes_up"].to_string(),
        row["bytes_down"].to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_for_each_flow_and_one_for_the_rest() {
        let flow = json!({"proto": "tcp", "kind": null, "source": "192.0.2.10:50000",
            "host": "laptop", "destination": "203.0.113.33:443", "domain": "www.example",
            "rule": "by-name", "outbound": "both", "node": "one", "bytes_up": 7,
            "bytes_down": 1234, "age_s": 75});
        let session = json!({"proto": "udp", "kind": "quic", "source": "[2001:db8::1]:5",
            "host": null, "destination": "[2001:db8::2]:443", "domain": null, "rule": "default",
            "outbound": "one", "node": null, "bytes_up": 0, "bytes_down": 0, "age_s": 0});
        let answer = |total| json!({"total": total, "most": 1000, "flows": [flow, session]});
        let page = "\
             \x20age  proto     source            host    destination        domain       rule     outbound  node      up  down\n\
             75 s  tcp       192.0.2.10:50000  laptop  203.0.113.33:443   www.example  by-name  both      one        7  1234\n\
             \x200 s  udp quic  [2001:db8::1]:5   -       [2001:db8::2]:443  -            default  one       dialling   0     0\n";
        assert_eq!(render(&answer(2)), page);
        let more = "the newest 2 of 30; dae flows N shows up to 1000\n";
        assert_eq!(render(&answer(30)), format!("{page}{more}"));
    }
}
