//! `*` The `dae` command: reads the command line, prints, and ends with an exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use dae::cli::{self, Cli, Command};
use dae::control::{flows, groups, queries, socket, status};
use dae::doctor::{self, page};
use dae::{Error, Result, daemon, trace};
use serde_json::Value;

/// The configuration has problems, or something failed.
const FAILED: u8 = 1;
/// The command line makes no sense.
const USAGE: u8 = 2;
/// No daemon answers.
const NOT_RUNNING: u8 = 3;

fn main() -> ExitCode {
    let result = cli::parse(std::env::args_os().skip(1)).and_then(execute);
    match result {
        Ok(code) => code,
        Err(error) => {
            // Standard error may be closed; there is no other place to say it.
            let _ = writeln!(io::stderr(), "dae: {error}");
            match error {
                Error::Usage(_) => ExitCode::from(USAGE),
                _ => ExitCode::from(FAILED),
            }
        }
    }
}

fn execute(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Run => daemon::run(&cli.config, &cli.run_dir, &cli.state_dir)?,
        Command::Clean => daemon::clean(&cli.run_dir)?,
        Command::Check => return check(&cli),
        Command::Doctor { json } => return Ok(examine(&cli, json)),
        Command::Status { json } => return show_status(&cli, json),
        Command::Reload { abort: false } => return order(&cli, "reload", status::reloaded),
        Command::Reload { abort: true } => return order(&cli, "reload abort", status::reloaded),
        Command::Suspend => return order(&cli, "suspend", status::suspended),
        Command::Resume => return order(&cli, "resume", status::resumed),
        Command::Flows { json, newest } => return show_flows(&cli, json, newest),
        Command::Choose {
            ref group,
            ref member,
            json,
        } => return choose(&cli, (group, member.as_deref()), json),
        Command::Queries { json, last } => return show_queries(&cli, json, last),
        Command::Trace(ref trace) => print(&trace::report(&cli, trace)?),
        Command::HelpConfig { markdown: true } => print(&dae::config::markdown()),
        Command::HelpConfig { markdown: false } => print(&dae::config::help_text()),
        Command::Help => print(cli::HELP),
        Command::Version => print(&dae::features::version()),
    }
    Ok(ExitCode::SUCCESS)
}

fn check(cli: &Cli) -> Result<ExitCode> {
    let report = daemon::load::check(&cli.config)?;
    if report.good {
        print(&report.text);
        return Ok(ExitCode::SUCCESS);
    }
    let _ = io::stderr().write_all(report.text.as_bytes());
    Ok(ExitCode::from(FAILED))
}

fn examine(cli: &Cli, json: bool) -> ExitCode {
    let findings = doctor::examine(cli);
    let (good, text) = page::render(&findings);
    if json {
        print(&format!("{:#}\n", page::document(&findings)));
    } else {
        print(&text);
    }
    ExitCode::from(if good { 0 } else { FAILED })
}

fn show_status(cli: &Cli, json: bool) -> Result<ExitCode> {
    ask(cli, "status", |document| {
        show(&document, json, status::render);
        ExitCode::SUCCESS
    })
}

fn show_queries(cli: &Cli, json: bool, last: Option<u32>) -> Result<ExitCode> {
    let request = last.map_or("queries".to_owned(), |last| format!("queries {last}"));
    ask(cli, &request, |document| {
        show(&document, json, queries::render);
        ExitCode::SUCCESS
    })
}

fn show_flows(cli: &Cli, json: bool, newest: Option<u32>) -> Result<ExitCode> {
    let request = newest.map_or("flows".to_owned(), |newest| format!("flows {newest}"));
    ask(cli, &request, |document| {
        show(&document, json, flows::render);
        ExitCode::SUCCESS
    })
}

/// Asks for something to be done, and prints what came of it.
fn order(cli: &Cli, request: &str, words: fn(&Value) -> (bool, String)) -> Result<ExitCode> {
    ask(cli, request, |answer| {
        let (good, text) = words(&answer);
        if good {
            print(&text);
            return ExitCode::SUCCESS;
        }
        let _ = io::stderr().write_all(text.as_bytes());
        ExitCode::from(FAILED)
    })
}

fn choose(cli: &Cli, (group, member): (&str, Option<&str>), json: bool) -> Result<ExitCode> {
    let request = match member {
        Some(member) => format!("choose {group} {member}"),
        None => format!("group {group}"),
    };
    ask(cli, &request, |answer| {
        let (good, text) = groups::chosen(&answer);
        if json {
            print(&format!("{answer:#}\n"));
        } else if good {
            print(&text);
        } else {
            let _ = io::stderr().write_all(text.as_bytes());
        }
        ExitCode::from(if good { 0 } else { FAILED })
    })
}

fn ask(cli: &Cli, request: &str, then: impl FnOnce(Value) -> ExitCode) -> Result<ExitCode> {
    match socket::ask(&cli.run_dir, request) {
        Ok(document) => Ok(then(document)),
        Err(error) => {
            let _ = writeln!(io::stderr(), "dae: {error}; is it running?");
            Ok(ExitCode::from(NOT_RUNNING))
        }
    }
}

fn show(document: &Value, json: bool, page: impl Fn(&Value) -> String) {
    if json {
        print(&format!("{document:#}\n"));
    } else {
        print(&page(document));
    }
}

/// A reader that has seen enough (`dae help config | head`) is no failure.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
