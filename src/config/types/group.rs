//! What a configuration says about groups of nodes.

use std::net::SocketAddr;
use std::time::Duration;

/// `config group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// At least one, at most 256; distinct. In the order of `list node`, then those that
    /// `list filter` accepts in file order.
    pub members: Vec<Member>,
    /// Which one is used.
    pub policy: GroupPolicy,
    /// By how much another has to be faster.
    pub tolerance: Duration,
    /// What is used when no member lives: an index into [`super::Config::outbounds`], of direct,
    /// block or a group. None: the members are tried all the same.
    pub fallback: Option<usize>,
    /// How its nodes are checked; see [`super::Config::checked`].
    pub check: Check,
    /// Whether a choice made by hand outlives the process.
    pub keep_choice: bool,
}

/// A member of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Index into [`super::Config::outbounds`], of a node or a group; smaller than that of the
    /// group that it is in.
    pub outbound: usize,
    /// Added to its times, milliseconds, -10,000 to 10,000.
    pub offset: i32,
}

/// Which living member carries a new flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupPolicy {
    /// This one: an index into [`Group::members`].
    Fixed(usize),
    /// Any.
    Random,
    /// The one whose last check was fastest.
    Min,
    /// The one whose last ten checks were fastest in the mean.
    MinAvg10,
    /// The one with the smallest moving average.
    MinMovingAvg,
}

/// How nodes are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Time between two checks of a node that lives.
    pub interval: Duration,
    /// For TCP.
    pub http: Option<HttpCheck>,
    /// For UDP: DNS servers, at most one of each IP version.
    pub dns: Vec<SocketAddr>,
}

impl Check {
    /// Whether anything is checked.
    pub fn is_any(&self) -> bool {
        self.http.is_some() || !self.dns.is_empty()
    }
}

/// A page that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheck {
    /// Where; at least one, at most one of each IP version.
    pub addrs: Vec<SocketAddr>,
    /// The Host field of the request (RFC 9110, 7.2), with a port unless that is 80.
    pub host: Box<str>,
    /// Starts with a slash; no white space.
    pub path: Box<str>,
}

/// A node that is in a group, and the group whose options say how it is checked: the first of
/// the file that has it as a member and checks anything, or else the first that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Index into [`super::Config::outbounds`], of a node.
    pub node: usize,
    /// Index into [`super::Config::outbounds`], of a group.
    pub group: usize,
}
