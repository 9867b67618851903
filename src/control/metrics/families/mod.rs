//! What each number of the status document is called as a metric. Pure.

mod dns;
mod flows;
mod nodes;
mod packets;
mod upstreams;

use Kind::{Counter, Gauge};
use Source::{Each, One};

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows, until a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A gauge in seconds; the document has milliseconds.
    Seconds,
}

/// Where numbers are in the document, as `part.field`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// One number.
    One(&'static str),
    /// Several, told apart by a label: its name, then values with places.
    Each(&'static str, &'static [(&'static str, &'static str)]),
    /// One of every row of a list.
    Rows(List, &'static str),
    /// Several of every row; the label as above.
    RowsEach(List, &'static str, &'static [(&'static str, &'static str)]),
}

/// A list of the document.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    /// Where it is.
    pub path: &'static str,
    /// Label and the field that it is taken from.
    pub labels: &'static [(&'static str, &'static str)],
    /// Label for the place in the list, from 0, where names may be the same.
    pub place: Option<&'static str>,
}

/// A value of a label that is a field of the row: the kind of stream of an upstream.
pub(super) const STREAM: &str = "stream";

/// Numbers of one name.
pub(super) struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub source: Source,
}

const fn family(name: &'static str, kind: Kind, source: Source, help: &'static str) -> Family {
    Family {
        name,
        kind,
        help,
        source,
    }
}

/// All metrics, in the order of the page.
pub(super) fn all() -> impl Iterator<Item = &'static Family> {
    [
        DAEMON,
        dns::FAMILIES,
        upstreams::FAMILIES,
        packets::FAMILIES,
        flows::FAMILIES,
        nodes::FAMILIES,
    ]
    .into_iter()
    .flatten()
}

static DAEMON: &[Family] = &[
    family(
        "dae_uptime_seconds",
        Gauge,
        One("uptime_s"),
        "Time since the start.",
    ),
    family(
        "dae_reloads_total",
        Counter,
        Each(
            "result",
            &[("ok", "reload.succeeded"), ("failed", "reload.failed")],
        ),
        "Times that the configuration was read again.",
    ),
];
