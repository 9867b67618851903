//! Runs a command and writes down when it said what. I/O.

use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::wrong;

/// Until the command ends; how it ended.
pub fn run(log: &str, command: &[&str]) -> io::Result<String> {
    let (program, arguments) = command.split_first().ok_or_else(|| wrong("no command"))?;
    let mut log = OpenOptions::new().create(true).append(true).open(log)?;
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(errors) = child.stderr.take() {
        for line in BufReader::new(errors).lines() {
            let line = line?;
            writeln!(log, "{} {line}", began.elapsed().as_millis())?;
            // The host looks how much it has worked for the guest until here.
            if line.contains("event=kernel.attached") {
                println!("MARK attached");
            }
        }
    }
    child.wait().map(|status| status.to_string())
}
