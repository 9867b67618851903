//! What `dae choose` prints of the daemon's answer. Pure.

use serde_json::Value;

use super::status;

/// Whether it was done, and the text: what is chosen now, the group with its members, or what is
/// wrong.
pub fn chosen(answer: &Value) -> (bool, String) {
    if answer["ok"] != true {
        let reason = answer["reason"]
            .as_str()
            .unwrap_or("the daemon does not know it");
        return (false, format!("dae: {reason}\n"));
    }
    let mut text = match answer["members"].is_array() {
        true => shown(answer),
        false => changed(answer),
    };
    if let Some(warning) = answer["warning"].as_str() {
        text += &format!("it will not outlive a restart: {warning}\n");
    }
    (true, text)
}

fn changed(answer: &Value) -> String {
    let group = answer["group"].as_str().unwrap_or_default();
    match answer["choice"].as_str() {
        Some(member) => format!("{group} uses {member}\n"),
        None => format!("{group} uses what its policy says\n"),
    }
}

fn shown(answer: &Value) -> String {
    let mut fields = answer.clone();
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("ok");
    }
    status::render(&fields)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_chosen_is_said() {
        let said = |answer| chosen(&answer);
        let yes = |text: &str| (true, text.to_owned());
        let answer = json!({"ok": true, "group": "g", "choice": "b"});
        assert_eq!(said(answer), yes("g uses b\n"));
        let answer = json!({"ok": true, "group": "g", "choice": null});
        assert_eq!(said(answer), yes("g uses what its policy says\n"));
        let answer = json!({"ok": true, "group": "g", "choice": "b", "warning": "full"});
        let text = "g uses b\nit will not outlive a restart: full\n";
        assert_eq!(said(answer), yes(text));
        let answer = json!({"ok": false, "reason": "there is no group 'x'"});
        assert_eq!(said(answer), (false, "dae: there is no group 'x'\n".into()));
        assert!(!said(json!({"error": "unknown request"})).0);
    }

    #[test]
    fn a_group_is_shown_with_its_members() {
        let answer = json!({"ok": true, "group": "g", "policy": "min", "choice": null, "members": [
            {"member": "a", "used": ["tcp4", "udp4"], "tcp4": "alive"},
            {"member": "b", "used": [], "tcp4": "dead"},
        ]});
        assert_eq!(
            chosen(&answer).1,
            "choice   -\ngroup    g\npolicy   min\nmembers\n  \
             member  tcp4   used\n  a       alive  tcp4,udp4\n  b       dead\n"
        );
    }
}
