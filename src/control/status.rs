//! The status document as a page of text. Pure.
//!
//! `dae status --json` prints the daemon's document as it is; `dae status` prints it as
//! this module lays it out: scalars first, then an indented block per object, then a table
//! per list of objects. So no field can be forgotten. DNS has a page of its own in
//! [`super::dns_page`].

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::dns_page;
use super::table::{self, scalar};

/// Columns that come before all others, in this order: they say what a row is about.
const FIRST_COLUMNS: [&str; 5] = ["group", "node", "network", "member", "life"];

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
            Value::Object(_) if indent == 0 && key == "reload" => {
                let _ = writeln!(page, "  {}", reloads(value));
            }
            Value::Object(inner) if indent == 0 && key == "dns" => dns(page, inner.clone()),
            Value::Object(inner) => block(page, inner, indent + 2),
            Value::Array(rows) => table(page, rows, indent + 2),
            _ => {}
        }
    }
}

fn dns(page: &mut String, mut fields: Map<String, Value>) {
    dns_page::append(page, &mut fields, 2);
    block(page, &fields, 2);
}

/// How often, and what came of the last one.
fn reloads(reload: &Value) -> String {
    let times = format!("{} done, {} failed", reload["succeeded"], reload["failed"]);
    let last = &reload["last"];
    if last.is_null() {
        return times;
    }
    let mut outcome = match &last["reason"] {
        Value::String(reason) => format!("failed, nothing was changed: {reason}"),
        _ => "done".to_owned(),
    };
    for (key, words_before) in [
        ("restart", "with a restart only"),
        ("amiss", "but for this"),
    ] {
        let named = words(last, key);
        if !named.is_empty() {
            let _ = write!(outcome, "; {words_before}: {}", named.join(", "));
        }
    }
    format!("{times}; the last, {} s ago: {outcome}", last["ago_s"])
}

/// What `dae reload` prints of the daemon's answer, and whether all of it is in force.
pub fn reloaded(answer: &Value) -> (bool, String) {
    if answer["ok"] != true {
        return (false, problems(answer) + "nothing was changed\n");
    }
    let restart = words(answer, "restart");
    let (all, mut text) = done(answer, "reloaded");
    if !restart.is_empty() {
        let restart = restart.join(", ");
        let _ = writeln!(text, "with /etc/init.d/dae restart only: {restart}");
    }
    (all, text)
}

fn done(answer: &Value, what: &str) -> (bool, String) {
    match words(answer, "amiss").as_slice() {
        [] => (true, format!("{what}\n")),
        amiss => (
            false,
            format!("{}\n{what}, but for this\n", amiss.join("\n")),
        ),
    }
}

/// What `dae suspend` prints, and whether all was undone.
pub fn suspended(answer: &Value) -> (bool, String) {
    match answer["ok"] == true {
        true => (true, "suspended, the LAN is as without dae\n".to_owned()),
        false => (false, problems(answer)),
    }
}

/// What `dae resume` prints, and whether dae has the LAN again.
pub fn resumed(answer: &Value) -> (bool, String) {
    match answer["ok"] == true {
        true => done(answer, "resumed"),
        false => (
            false,
            problems(answer) + "not resumed; dae suspend ends the tries\n",
        ),
    }
}

fn problems(answer: &Value) -> String {
    let lines = words(answer, "problems").into_iter();
    lines.map(|line| line + "\n").collect()
}

fn words(answer: &Value, key: &str) -> Vec<String> {
    let all = answer[key].as_array().map(Vec::as_slice);
    all.unwrap_or_default().iter().map(scalar).collect()
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
    let place = |key: &&String| FIRST_COLUMNS.iter().position(|first| first == key);
    let mut columns: Vec<&String> = first.keys().collect();
    columns.sort_by_key(|key| place(key).unwrap_or(FIRST_COLUMNS.len()));
    let heading = columns.iter().map(|column| (*column).clone()).collect();
    let cells = |row: &Value| {
        let cells = columns.iter().map(|column| scalar(&row[column.as_str()]));
        cells.collect()
    };
    let lines: Vec<Vec<String>> = [heading]
        .into_iter()
        .chain(rows.iter().map(cells))
        .collect();
    table::append(page, &lines, indent);
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Object(_) | Value::Array(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_then_blocks_then_tables() {
        let page = render(&json!({
            "devices": [{"device": "br-lan", "hook": "tcx"}],
            "lives": [{"age": 1, "life": "dead", "node": "a"}],
            "names": {"cached": 5, "upstreams": [{"name": "main", "sent": 12}], "queries": 7},
            "nobody": [],
            "uptime_s": 3,
            "version": "0.1.0",
        }));
        assert_eq!(
            page,
            "uptime_s  3\n\
             version   0.1.0\n\
             devices\n  device  hook\n  br-lan  tcx\n\
             lives\n  node  life  age\n  a     dead    1\n\
             names\n  cached     5\n  queries    7\n  upstreams\n    name  sent\n    main    12\n\
             nobody\n  -\n"
        );
    }

    #[test]
    fn dns_is_laid_out_and_nothing_is_left_out() {
        let page = render(&json!({"dns": {"queries": 7, "shiny": 3}}));
        assert_eq!(page, "dns\n  queries           7 asked\n  shiny  3\n");
    }

    #[test]
    fn reloads_are_one_line() {
        let line = |last: Value| {
            let reload = json!({"succeeded": 2, "failed": 1, "last": last});
            let page = render(&json!({ "reload": reload }));
            page.strip_prefix("reload\n  2 done, 1 failed")
                .unwrap()
                .to_owned()
        };
        assert_eq!(line(Value::Null), "\n");
        let last = |reason: Value, restart: Value| json!({"ago_s": 5, "ok": reason.is_null(), "reason": reason, "restart": restart});
        let done = line(last(Value::Null, json!([])));
        assert_eq!(done, "; the last, 5 s ago: done\n");
        let partly = line(last(Value::Null, json!(["rule", "node"])));
        assert!(
            partly.ends_with(": done; with a restart only: rule, node\n"),
            "{partly}"
        );
        let amiss =
            json!({"ago_s": 5, "reason": null, "restart": [], "amiss": ["tcx on lan0: no"]});
        assert!(line(amiss).ends_with(": done; but for this: tcx on lan0: no\n"));
        let failed = line(last("dae:3: frob".into(), json!([])));
        assert!(
            failed.ends_with(": failed, nothing was changed: dae:3: frob\n"),
            "{failed}"
        );
    }

    fn good_answer() -> Value {
        json!({ "ok": true })
    }

    #[test]
    fn orders_say_what_came_of_them() {
        let (good, text) = reloaded(&json!({"ok": true, "restart": ["rule", "dae.attach"]}));
        assert!(
            good && text.ends_with("restart only: rule, dae.attach\n"),
            "{text}"
        );
        let good = reloaded(&json!({"ok": true, "restart": []}));
        assert_eq!(good, (true, "reloaded\n".into()));
        let partly = reloaded(&json!({"ok": true, "restart": [], "amiss": ["tcx on lan0: no"]}));
        let said = "tcx on lan0: no\nreloaded, but for this\n";
        assert_eq!(partly, (false, said.into()));
        let failed = json!({"ok": false, "problems": ["bpf load: no"]});
        assert_eq!(suspended(&failed), (false, "bpf load: no\n".into()));
        let (good, text) = resumed(&failed);
        assert!(
            !good && text.starts_with("bpf load: no\nnot resumed"),
            "{text}"
        );
        assert!(suspended(&good_answer()).0 && resumed(&good_answer()).0);
        let bad = reloaded(&json!({"ok": false, "problems": ["dae:3: frob", "dae:4: brof"]}));
        assert_eq!(
            bad,
            (
                false,
                "dae:3: frob\ndae:4: brof\nnothing was changed\n".into()
            )
        );
    }
}
