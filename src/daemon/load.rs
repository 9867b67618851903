//! `*` From the configuration file to what the daemon runs with.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::config::report::{self, Report};
use crate::config::{Config, Problem, uci};
use crate::error::{Error, IoContext as _, Result};
use crate::rules::image::{CompileError, Image};

/// A configuration and its rules as tables.
#[derive(Debug)]
pub struct Loaded {
    /// Valid.
    pub config: Config,
    /// Compiled from its rules.
    pub image: Image,
}

/// Reads and compiles a configuration. Every problem is logged; the error counts them.
pub fn read(path: &Path) -> Result<Loaded> {
    let refused = |problems: Vec<String>| {
        for problem in &problems {
            log::error!(event = "config.problem", place = problem.as_str(); "");
        }
        Error::Config {
            path: path.into(),
            count: problems.len(),
        }
    };
    let config = parse(path, &bytes(path)?).map_err(refused)?;
    let image = compile(path, &config).map_err(refused)?;
    Ok(Loaded { config, image })
}

/// As [`read`], but says nothing: the error is the first problem as `dae check` prints it, and
/// how many there are.
pub fn quietly(path: &Path) -> std::result::Result<Loaded, (String, usize)> {
    let first = |problems: Vec<String>| {
        let count = problems.len();
        (problems.into_iter().next().unwrap_or_default(), count)
    };
    let config = again(path).map_err(first)?;
    let image = compile(path, &config).map_err(first)?;
    Ok(Loaded { config, image })
}

/// Reads the configuration of a daemon that runs; the problems as `dae check` prints them. Its
/// rules are not compiled.
pub fn again(path: &Path) -> std::result::Result<Config, Vec<String>> {
    let text = bytes(path).map_err(|error| vec![error.to_string()])?;
    parse(path, &text)
}

/// The tables of a configuration's rules; the problem as `dae check` prints it.
pub fn compile(path: &Path, config: &Config) -> std::result::Result<Image, Vec<String>> {
    tables(config).map_err(|error| vec![at(path, &error)])
}

fn parse(path: &Path, text: &[u8]) -> std::result::Result<Config, Vec<String>> {
    Config::parse(&path.display().to_string(), text)
        .map_err(|problems| problems.iter().map(Problem::to_string).collect())
}

fn at(path: &Path, error: &CompileError) -> String {
    format!("{}: {error}", path.display())
}

/// What `dae check` prints.
pub fn check(path: &Path) -> Result<Report> {
    let compiles = |config: &Config| tables(config).map(drop).map_err(|error| error.to_string());
    Ok(report::check(
        &path.display().to_string(),
        &bytes(path)?,
        compiles,
    ))
}

fn tables(config: &Config) -> std::result::Result<Image, CompileError> {
    Image::compile(
        &config.rules,
        config.main.default,
        config.main.interfaces.len(),
    )
}

/// Reads one byte more than the reader of UCI takes, so that it can say what is too long.
fn bytes(path: &Path) -> Result<Vec<u8>> {
    let name = || format!("read {}", path.display());
    let file = File::open(path).context(name)?;
    let mut text = Vec::new();
    let limit = uci::MAX_FILE_BYTES as u64 + 1;
    file.take(limit).read_to_end(&mut text).context(name)?;
    Ok(text)
}
