//! Findings, and how they are printed. Pure.

use std::fmt::{Display, Write as _};

use serde_json::{Value, json};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Ok,
    /// To be put right.
    Problem,
    /// Could not be told.
    Unknown,
}

impl State {
    /// The word of the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Problem => "problem",
            Self::Unknown => "unknown",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it ended.
    pub state: State,
    /// What was looked at, in a word.
    pub check: &'static str,
    /// What was found.
    pub words: String,
    /// What to do; empty when there is nothing to be done.
    pub cure: String,
}

/// The page for a terminal, and whether nothing is wrong.
pub fn render(findings: &[Finding]) -> (bool, String) {
    let mut page = String::new();
    for Finding {
        state,
        check,
        words,
        cure,
    } in findings
    {
        let arrow = if cure.is_empty() { "" } else { "  -> " };
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            page,
            "{:7}  {check:9}  {words}{arrow}{cure}",
            state.as_str()
        );
    }
    let problems = findings.iter().filter(|it| it.state == State::Problem);
    let problems = problems.count();
    let _ = match problems {
        0 => writeln!(page, "nothing wrong found"),
        1 => writeln!(page, "1 problem"),
        many => writeln!(page, "{many} problems"),
    };
    (problems == 0, page)
}

/// The same for programs.
pub fn document(findings: &[Finding]) -> Value {
    let row = |it: &Finding| json!({"state": it.state.as_str(), "check": it.check, "words": it.words, "cure": it.cure});
    findings.iter().map(row).collect()
}

/// What was found so far.
pub struct Findings(pub(super) Vec<Finding>);

impl Findings {
    // Many places call these: what can be done here is not done in each of them.

    #[inline(never)]
    fn add(&mut self, state: State, check: &'static str, words: &dyn Display, cure: &str) {
        self.0.push(Finding {
            state,
            check,
            words: words.to_string(),
            cure: cure.to_owned(),
        });
    }

    /// All is well.
    #[inline(never)]
    pub fn good(&mut self, check: &'static str, words: &dyn Display) {
        self.add(State::Ok, check, words, "");
    }

    /// Something is wrong; `cure` is what to do.
    #[inline(never)]
    pub fn bad(&mut self, check: &'static str, words: &dyn Display, cure: &str) {
        self.add(State::Problem, check, words, cure);
    }

    /// It could not be told, or may be well.
    #[inline(never)]
    pub fn unsure(&mut self, check: &'static str, words: &dyn Display, cure: &str) {
        self.add(State::Unknown, check, words, cure);
    }
}
