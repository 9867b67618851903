//! The words of the command line to a [`Command`]. Pure.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use lexopt::prelude::*;

use crate::error::{Error, Result};
use crate::rules::{Flow, Mac, Proto};

/// Where the configuration is unless `-c` says otherwise.
pub const CONFIG: &str = "/etc/config/dae";
/// Where control socket and state are unless `-r` says otherwise: gone after a reboot.
pub const RUN_DIR: &str = "/var/run/dae";
/// Where what outlives a reboot is unless `--state-dir` says otherwise.
pub const STATE_DIR: &str = "/etc/dae";

/// `dae --help`.
pub const HELP: &str = "\
dae: transparent proxy and DNS forwarder

  dae run            run in the foreground until TERM or INT
  dae check          read the configuration and print every problem
  dae doctor         what is wrong with this router, and what to do [--json]
  dae status         what the running daemon does [--json]
                     --queries [N]: the last DNS queries, where they are logged
  dae flows [N]      the newest proxied flows there are [--json]
  dae reload         read the configuration again, as SIGHUP does
                     [--abort]: connections of nodes that are gone end at once
  dae suspend        let go of the LAN, as if dae were not there
  dae resume         take it up again
  dae clean          undo what a killed daemon has left, its kill switch too
  dae choose GROUP [MEMBER|auto]
                     have a group use this member, or what its policy says;
                     without a member: the group, and how its members are [--json]
  dae trace SRC DST  which rule decides a flow, and why
                     SRC and DST: ADDRESS, ADDRESS:PORT or [IPV6]:PORT
                     [--proto tcp|udp] [--domain NAME]... [--mac MAC]
                     [--interface NAME] [--dscp N]
  dae help config    every option of the configuration [--markdown]
  dae --version

  -c, --config FILE   configuration (/etc/config/dae)
  -r, --run-dir DIR   control socket and state (/var/run/dae)
      --state-dir DIR what outlives a reboot: choices of members (/etc/dae)

Exit codes: 0 done; 1 failed, or there are problems; 2 the command
line makes no sense; 3 no daemon answers.
";

/// What the user asks for.
#[derive(Debug, PartialEq)]
pub struct Cli {
    /// `-c`.
    pub config: PathBuf,
    /// `-r`.
    pub run_dir: PathBuf,
    /// `--state-dir`.
    pub state_dir: PathBuf,
    /// What to do.
    pub command: Command,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// `dae run`.
    Run,
    /// `dae check`.
    Check,
    /// `dae doctor`.
    Doctor {
        /// For programs.
        json: bool,
    },
    /// `dae reload`.
    Reload {
        /// Flows of outbounds that are gone end at once.
        abort: bool,
    },
    /// `dae suspend`.
    Suspend,
    /// `dae resume`.
    Resume,
    /// `dae clean`.
    Clean,
    /// `dae choose`.
    Choose {
        /// The group.
        group: String,
        /// A member, or `auto`; None: show the group.
        member: Option<String>,
        /// The answer as it is.
        json: bool,
    },
    /// `dae status`.
    Status {
        /// The document as it is.
        json: bool,
    },
    /// `dae status --queries`.
    Queries {
        /// The document as it is.
        json: bool,
        /// The last so many; all that there are if not said.
        last: Option<u32>,
    },
    /// `dae flows`.
    Flows {
        /// The document as it is.
        json: bool,
        /// So many; not said: as many as is usual.
        newest: Option<u32>,
    },
    /// `dae trace`.
    Trace(Box<Trace>),
    /// `dae help config`.
    HelpConfig {
        /// As docs/config.md.
        markdown: bool,
    },
    /// `dae --help`.
    Help,
    /// `dae --version`.
    Version,
}

/// A flow to be traced.
#[derive(Debug, PartialEq)]
pub struct Trace {
    /// The flow; its interface is still to be looked up by name.
    pub flow: Flow,
    /// `--interface`.
    pub interface: Option<String>,
    /// `--domain`, any number.
    pub domains: Vec<String>,
}

/// Understands the arguments behind the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli> {
    Words::default()
        .read(lexopt::Parser::from_args(args))
        .map_err(|error| match error {
            lexopt::Error::Custom(words) => Error::Usage(words.to_string()),
            other => Error::Usage(other.to_string()),
        })
}

/// Everything said on the command line, before it is known to make sense.
#[derive(Default)]
struct Words {
    config: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    names: Vec<String>,
    json: bool,
    queries: bool,
    abort: bool,
    markdown: bool,
    version: bool,
    help: bool,
    proto: Option<Proto>,
    domains: Vec<String>,
    mac: Option<Mac>,
    interface: Option<String>,
    dscp: Option<u8>,
}

impl Words {
    fn read(mut self, mut parser: lexopt::Parser) -> Result<Cli, lexopt::Error> {
        while let Some(arg) = parser.next()? {
            match arg {
                Short('c') | Long("config") => self.config = Some(parser.value()?.into()),
                Short('r') | Long("run-dir") => self.run_dir = Some(parser.value()?.into()),
                Long("state-dir") => self.state_dir = Some(parser.value()?.into()),
                Short('h') | Long("help") => self.help = true,
                Short('V') | Long("version") => self.version = true,
                Long("json") => self.json = true,
                Long("queries") => {
                    self.queries = true;
                    if let Some(last) = parser.optional_value() {
                        self.names.push(last.string()?);
                    }
                }
                Long("abort") => self.abort = true,
                Long("markdown") => self.markdown = true,
                Long("proto") => self.proto = Some(parser.value()?.parse()?),
                Long("domain") => self.domains.push(parser.value()?.string()?),
                Long("mac") => self.mac = Some(mac(&parser.value()?.string()?)?),
                Long("interface") => self.interface = Some(parser.value()?.string()?),
                Long("dscp") => {
                    let dscp = parser.value()?.parse()?;
                    if dscp > 63 {
                        return Err("a DSCP value is 0 to 63".into());
                    }
                    self.dscp = Some(dscp);
                }
                Value(word) => self.names.push(word.string()?),
                other => return Err(other.unexpected()),
            }
        }
        let command = self.command()?;
        Ok(Cli {
            config: self.config.unwrap_or_else(|| CONFIG.into()),
            run_dir: self.run_dir.unwrap_or_else(|| RUN_DIR.into()),
            state_dir: self.state_dir.unwrap_or_else(|| STATE_DIR.into()),
            command,
        })
    }

    fn command(&mut self) -> Result<Command, lexopt::Error> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let is_status = names.first() == Some(&"status");
        let has_json = matches!(
            names.first(),
            Some(&("status" | "flows" | "choose" | "doctor"))
        );
        let is_trace = names.first() == Some(&"trace");
        let for_trace = self.proto.is_some()
            || !self.domains.is_empty()
            || self.mac.is_some()
            || self.interface.is_some()
            || self.dscp.is_some();
        let misplaced = [
            (
                self.json && !has_json,
                "--json goes with status, flows, choose and doctor",
            ),
            (self.queries && !is_status, "--queries goes with status"),
            (
                self.abort && names != ["reload"],
                "--abort goes with reload",
            ),
            (
                self.markdown && names != ["help", "config"],
                "--markdown goes with help config",
            ),
            (for_trace && !is_trace, "options of a flow go with trace"),
        ];
        if let Some((_, words)) = misplaced.iter().find(|(misplaced, _)| *misplaced) {
            return Err((*words).into());
        }
        Ok(match names[..] {
            _ if self.version => Command::Version,
            _ if self.help => Command::Help,
            ["run"] => Command::Run,
            ["check"] => Command::Check,
            ["doctor"] => Command::Doctor { json: self.json },
            ["reload"] => Command::Reload { abort: self.abort },
            ["suspend"] => Command::Suspend,
            ["resume"] => Command::Resume,
            ["clean"] => Command::Clean,
            ["choose", group] => self.choose(group, None),
            ["choose", group, member] => self.choose(group, Some(member)),
            ["choose", ..] => return Err("choose wants a group, and a member or auto".into()),
            ["status"] if !self.queries => Command::Status { json: self.json },
            ["status"] => Command::Queries {
                json: self.json,
                last: None,
            },
            ["status", last] if self.queries => Command::Queries {
                json: self.json,
                last: Some(number(last)?),
            },
            ["status", word, ..] => return Err(format!("'{word}' says nothing to status").into()),
            ["flows"] => Command::Flows {
                json: self.json,
                newest: None,
            },
            ["flows", newest] => Command::Flows {
                json: self.json,
                newest: Some(number(newest)?),
            },
            ["flows", ..] => return Err("flows wants a number or nothing".into()),
            ["trace", src, dst] => {
                let trace = self.trace(endpoint(src)?, endpoint(dst)?)?;
                Command::Trace(Box::new(trace))
            }
            ["trace", ..] => return Err("trace wants a source and a destination address".into()),
            ["help", "config"] => Command::HelpConfig {
                markdown: self.markdown,
            },
            ["help"] => Command::Help,
            [] => return Err("what should be done?".into()),
            [first, ..] => return Err(format!("'{first}' is not a command here").into()),
        })
    }

    fn choose(&self, group: &str, member: Option<&str>) -> Command {
        Command::Choose {
            group: group.to_owned(),
            member: member.map(str::to_owned),
            json: self.json,
        }
    }

    fn trace(&self, src: Endpoint, dst: Endpoint) -> Result<Trace, lexopt::Error> {
        if src.0.is_ipv4() != dst.0.is_ipv4() {
            return Err("source and destination are not of one IP version".into());
        }
        let flow = Flow {
            src: src.0,
            dst: dst.0,
            // What a client's own stack might choose.
            src_port: src.1.unwrap_or(49152),
            dst_port: dst.1.unwrap_or(443),
            proto: self.proto.unwrap_or(Proto::Tcp),
            dscp: self.dscp.unwrap_or(0),
            src_mac: self.mac,
            interface: None,
        };
        Ok(Trace {
            flow,
            interface: self.interface.clone(),
            domains: self.domains.clone(),
        })
    }
}

fn number(text: &str) -> Result<u32, lexopt::Error> {
    let number = text.parse();
    number.map_err(|_| format!("'{text}' is not a number").into())
}

type Endpoint = (IpAddr, Option<u16>);

fn endpoint(text: &str) -> Result<Endpoint, lexopt::Error> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok((addr.ip(), Some(addr.port())));
    }
    match text.parse() {
        Ok(addr) => Ok((addr, None)),
        Err(_) => Err(format!("'{text}' is not an address; give a name with --domain").into()),
    }
}

fn mac(text: &str) -> Result<Mac, lexopt::Error> {
    text.parse()
        .map_err(|error: crate::rules::flow::FlowWordError| error.to_string().into())
}

#[cfg(test)]
mod tests;
