//! Carries out the checks of nodes that [`Ways`] orders, and keeps its time. I/O.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};

use super::blame::Blame;
use super::health::{CheckId, Fault};
use super::question::{self, STATUS_LINE};
use super::socks5::wire::Command;
use super::ways::{Order, Question, Way, Ways};
use super::{DialError, Outbound};
use crate::net::reactor::{self, Task, Timer};

/// A DNS query is sent again after these times: one that is lost says little.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// Bytes of a DNS answer; what is longer is cut.
const ANSWER: usize = 512;

/// Checks nodes for ever. Dropped, it ends the checks under way.
pub async fn run(ways: Rc<Ways>) {
    // As many as health has under way at a time, and those that have just ended.
    let mut under_way: Vec<(CheckId, Task<()>)> = Vec::new();
    loop {
        under_way.retain(|(_, task)| !task.is_finished());
        while let Some(order) = ways.next_order() {
            match order {
                Order::Check { id, way, question } => {
                    let check = check(Rc::clone(&ways), id, way, question);
                    under_way.push((id, reactor::spawn(check)));
                }
                // Its task ends with it.
                Order::Cancel(id) => under_way.retain(|(other, _)| *other != id),
            }
        }
        let due = ways.next_deadline();
        let time = async {
            match due {
                Some(at) => drop(Timer::at(at).await),
                None => future::pending().await,
            }
        };
        future::or(time, ways.changed.wait()).await;
        let now = Instant::now();
        if due.is_some_and(|due| due <= now) {
            ways.tick(now);
        }
    }
}

/// One check.
async fn check(ways: Rc<Ways>, id: CheckId, way: Rc<Way>, question: Question) {
    let began = Instant::now();
    let answer = match &question {
        Question::Http { addr, host, path } => http(&way.outbound, *addr, host, path).await,
        Question::Dns(addr) => dns(&way.outbound, *addr).await,
    };
    let now = Instant::now();
    let took = now.saturating_duration_since(began);
    let outcome = match answer {
        Ok(()) => Ok(took),
        Err(error) => {
            let node = &*way.name;
            log::debug!(event = "node.check", node, by:% = question, reason:% = error; "");
            outcome(&way, &question, &error, took)
        }
    };
    ways.check_done(id, outcome, now);
}

/// What an error says of what was to be found out.
fn outcome(
    way: &Way,
    question: &Question,
    error: &DialError,
    took: Duration,
) -> Result<Duration, Fault> {
    let command = match question {
        Question::Http { .. } => Command::Connect,
        Question::Dns(_) => Command::UdpAssociate,
    };
    match (error, error.blame(command, false)) {
        // Somebody outside said so, and that it is there was the question.
        (DialError::Io(error), _)
            if way.is_direct() && error.kind() == io::ErrorKind::ConnectionRefused =>
        {
            Ok(took)
        }
        (_, Blame::Fault(fault)) => Err(fault),
        // A node that cannot reach the server of the check is of no use, whatever it says.
        (_, Blame::Destination | Blame::Nobody) => Err(Fault::Remote),
    }
}

async fn http(
    outbound: &Outbound,
    addr: SocketAddr,
    host: &str,
    path: &str,
) -> Result<(), DialError> {
    let stream = outbound.tcp(addr).await?;
    let mut stream = &stream;
    stream.write_all(&question::page(host, path)).await?;
    let mut line = [0; STATUS_LINE];
    stream.read_exact(&mut line).await?;
    match question::is_status_line(&line) {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "not HTTP").into()),
    }
}

async fn dns(outbound: &Outbound, addr: SocketAddr) -> Result<(), DialError> {
    let association = outbound.udp(addr).await?;
    let id = getrandom::u32().map_or(0, |random| random as u16);
    let query = question::query(id);
    let asks = async {
        for pause in AGAIN {
            association.send(addr, &query)?;
            Timer::after(pause).await;
        }
        association.send(addr, &query)?;
        future::pending().await
    };
    let hears = async {
        let mut buffer = [0; ANSWER];
        loop {
            association.readable().await;
            match association.recv(&mut buffer) {
                Ok((from, message)) if from == addr && question::is_answer(message, id) => {
                    return Ok(());
                }
                Ok(_) => future::yield_now().await,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::InvalidData
                    | io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    };
    let ended = async { Err(association.ended().await) };
    future::or(hears, future::or(asks, ended)).await?;
    Ok(())
}
