//! `*` The `dae` command: reads the command line, prints, and ends with an exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use dae::cli::{self, Cli, Command};
use dae::control::{socket, status};
use dae::{Error, Result, daemon, trace};

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
        Command::Run => daemon::run(&cli.config, &cli.run_dir)?,
        Command::Check => return check(&cli),
        Command::Status { json } => return show_status(&cli, json),
        Command::Trace(ref trace) => print(&trace::report(&cli, trace)?),
        Command::HelpConfig { markdown: true } => print(&dae::config::markdown()),
        Command::HelpConfig { markdown: false } => print(&dae::config::help_text()),
        Command::Help => print(cli::HELP),
        Command::Version => print(concat!("dae ", env!("CARGO_PKG_VERSION"), "\n")),
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

fn show_status(cli: &Cli, json: bool) -> Result<ExitCode> {
    match socket::ask(&cli.run_dir, "status") {
        Ok(document) if json => print(&format!("{document:#}\n")),
        Ok(document) => print(&status::render(&document)),
        Err(error) => {
            let _ = writeln!(io::stderr(), "dae: {error}; is it running?");
            return Ok(ExitCode::from(NOT_RUNNING));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A reader that has seen enough (`dae help config | head`) is no failure.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
