//! Sockets towards upstreams: which one a UDP query leaves by, and with which ID. Pure.
//!
//! Queries to the same peer share a few sockets, each for a short while, so that a socket costs
//! little and its port still keeps changing (RFC 5452). Time is told by [`Pool::sweep`], which
//! is called once a second while there is a socket.

mod places;
mod slots;

pub use self::places::Numbered;
use self::places::Places;
use self::slots::Slots;
use super::udp_ids::{Heard, Ids};

/// Most sockets, all peers together.
pub const MAX_SOCKETS: usize = 256;

/// Most sockets that stay open with nobody waiting.
pub const MAX_IDLE: usize = 16;

/// Sweeps after which an unused socket that takes no further query is closed: a late answer
/// within that time is dropped in silence instead of being told that nobody listens.
const LINGER: u16 = 1;

/// How the sockets to a peer are used.
#[derive(Debug)]
pub struct Limits {
    /// Queries that wait on one socket at a time.
    pub at_once: usize,
    /// Queries that one socket carries in its life.
    pub life: usize,
    /// Sweeps during which a socket takes queries.
    pub age: u16,
    /// Sweeps after which an unused socket is closed.
    pub idle: u16,
    /// Sockets used side by side; the choice is random.
    pub spread: usize,
    /// So many queries in a row that end without an answer, and the socket takes no more.
    pub silent: u8,
    /// Whether a repetition goes by another socket than the query did.
    pub fresh: bool,
}

/// Our own sockets. A guesser has to find one of the ports of the last seconds, and then has 16
/// bits of ID to go. A socket whose query was not answered may have a source address that is
/// ours no more, as the WAN has got another.
pub const DIRECT: Limits = Limits {
    at_once: 64,
    life: 128,
    age: 9,
    idle: 5,
    spread: 4,
    silent: 1,
    fresh: true,
};

/// Associations with a node. Each costs the node a connection, its port is not ours to choose,
/// and the way to it is no place to guess from.
pub const NODE: Limits = Limits {
    at_once: 512,
    life: 4096,
    age: 300,
    idle: 60,
    spread: 1,
    silent: 4,
    fresh: false,
};

/// Names a socket, once and for ever; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u64);

/// Why a query has no socket.
#[derive(Debug, PartialEq, Eq)]
pub enum Unplaced<E> {
    /// [`MAX_SOCKETS`] are in use.
    Full,
    /// A new socket could not be had.
    Open(E),
}

/// Where a query goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The socket.
    pub socket: SocketId,
    /// The ID on the wire.
    pub id: u16,
}

/// All sockets. `P` names a peer, `A` an attempt, `S` is the socket itself; dropped, it is
/// closed.
pub struct Pool<P, A, S> {
    sockets: Slots<Socket<P, A, S>>,
    attempts: Places<A>,
    /// Peers with sockets that take queries; a handful.
    ready: Vec<(P, Vec<SocketId>)>,
}

struct Socket<P, A, S> {
    io: S,
    peer: P,
    limits: &'static Limits,
    ids: Ids<A>,
    /// Takes no further query.
    retired: bool,
    /// Queries in a row that ended without an answer.
    silent: u8,
    /// Used since the last sweep.
    used: bool,
    /// Sweeps since it was opened, and since it was used.
    age: u16,
    quiet: u16,
}

/// Where an attempt waits, the newest place last.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    earlier: Option<Place>,
    latest: Place,
    /// Sockets from this one on were opened after the attempt had begun.
    newer: SocketId,
}

impl<P: Clone + PartialEq, A: Numbered, S> Pool<P, A, S> {
    /// No sockets.
    pub fn new() -> Self {
        Self {
            sockets: Slots::new(),
            attempts: Places::new(),
            ready: Vec::new(),
        }
    }

    /// A place for the attempt's query. An attempt that has one keeps it; a `fresh` one gets a
    /// second, on a socket opened after the attempt began, while the first is still listened
    /// to. `open` makes a socket when another is wanted.
    pub fn place<E>(
        &mut self,
        attempt: A,
        peer: &P,
        limits: &'static Limits,
        fresh: bool,
        random: &mut dyn FnMut() -> u16,
        open: impl FnOnce(SocketId) -> Result<S, E>,
    ) -> Result<Place, Unplaced<E>> {
        let Some(&mut Attempt {
            earlier,
            latest,
            newer,
        }) = self.attempts.get_mut(attempt)
        else {
            let latest = self.place_on(attempt, peer, limits, None, random, open)?;
            let newer = self.sockets.next();
            let first = Attempt {
                earlier: None,
                latest,
                newer,
            };
            self.attempts.insert(attempt, first);
            return Ok(latest);
        };
        if !fresh || !limits.fresh || earlier.is_some() {
            return Ok(latest);
        }
        match self.place_on(attempt, peer, limits, Some(newer), random, open) {
            Ok(place) => {
                if let Some(known) = self.attempts.get_mut(attempt) {
                    known.earlier = Some(latest);
                    known.latest = place;
                }
                Ok(place)
            }
            // Better the same way again than not at all.
            Err(_) => Ok(latest),
        }
    }

    /// Takes an ID on a socket that was opened as `from` or later.
    fn place_on<E>(
        &mut self,
        attempt: A,
        peer: &P,
        limits: &'static Limits,
        from: Option<SocketId>,
        random: &mut dyn FnMut() -> u16,
        open: impl FnOnce(SocketId) -> Result<S, E>,
    ) -> Result<Place, Unplaced<E>> {
        let ready = self.ready.iter().find(|(other, _)| other == peer);
        let ready = ready.map_or(&[][..], |(_, sockets)| sockets);
        let fit = || {
            ready
                .iter()
                .filter(|id| from.is_none_or(|from| **id >= from))
        };
        let fitting = fit().count();
        let chosen = fit().nth(usize::from(random()) % fitting.max(1)).copied();
        let wanted = if from.is_none() { limits.spread } else { 1 };
        let opened = (fitting < wanted).then(|| self.open(peer, limits, open));
        let id = match (opened, chosen) {
            (Some(Ok(id)), _) | (None | Some(Err(_)), Some(id)) => id,
            (Some(Err(why)), None) => return Err(why),
            (None, None) => return Err(Unplaced::Full),
        };
        let socket = self.sockets.get_mut(id).ok_or(Unplaced::Full)?;
        socket.used = true;
        let wire = socket.ids.take(attempt, random).ok_or(Unplaced::Full)?;
        if socket.ids.left() == 0 {
            self.retire(id);
        } else if socket.ids.waiting().len() >= limits.at_once {
            self.unready(id);
        }
        Ok(Place {
            socket: id,
            id: wire,
        })
    }

    fn open<E>(
        &mut self,
        peer: &P,
        limits: &'static Limits,
        open: impl FnOnce(SocketId) -> Result<S, E>,
    ) -> Result<SocketId, Unplaced<E>> {
        if self.sockets.len() >= MAX_SOCKETS {
            let (_, idle) = self.idle().min().ok_or(Unplaced::Full)?;
            self.remove(idle);
        }
        let make = |id| {
            Ok(Socket {
                io: open(id)?,
                peer: peer.clone(),
                limits,
                ids: Ids::new(limits.life),
                retired: false,
                silent: 0,
                used: true,
                age: 0,
                quiet: 0,
            })
        };
        let opened = self.sockets.insert(make).ok_or(Unplaced::Full)?;
        let id = opened.map_err(Unplaced::Open)?;
        self.make_ready(id);
        Ok(id)
    }

    /// A socket.
    pub fn get(&self, id: SocketId) -> Option<&S> {
        self.sockets.get(id).map(|socket| &socket.io)
    }

    /// Whose an ID is that came on a socket.
    pub fn hear(&mut self, place: Place) -> Heard<A> {
        let Some(socket) = self.sockets.get_mut(place.socket) else {
            return Heard::Late;
        };
        socket.used = true;
        socket.ids.hear(place.id)
    }

    /// Attempts that wait on a socket, [`Limits::at_once`] at most.
    pub fn waiting(&self, id: SocketId) -> Vec<A> {
        let socket = self.sockets.get(id);
        socket.map_or_else(Vec::new, |socket| socket.ids.waiting().collect())
    }

    /// The attempt waits for nothing more.
    pub fn end(&mut self, attempt: A) {
        if let Some(Attempt {
            earlier, latest, ..
        }) = self.attempts.remove(attempt)
        {
            earlier.into_iter().for_each(|place| self.leave(place));
            self.leave(latest);
        }
    }

    fn leave(&mut self, place: Place) {
        let Some(socket) = self.sockets.get_mut(place.socket) else {
            return;
        };
        let full = socket.ids.waiting().len() >= socket.limits.at_once;
        let heard = socket.ids.end(place.id).unwrap_or(true);
        socket.silent = if heard {
            0
        } else {
            socket.silent.saturating_add(1)
        };
        if socket.retired {
            return;
        }
        if socket.silent >= socket.limits.silent {
            self.retire(place.socket);
        } else if full {
            self.make_ready(place.socket);
        }
    }

    /// Closes a socket that has failed. Those who waited there wait there no more.
    pub fn fail(&mut self, id: SocketId) -> Vec<A> {
        let failed = self.waiting(id);
        for attempt in &failed {
            let Some(known) = self.attempts.get_mut(*attempt) else {
                continue;
            };
            // The two places of an attempt are on different sockets.
            match known.earlier.take() {
                Some(earlier) if known.latest.socket == id => known.latest = earlier,
                Some(_) => {}
                None => drop(self.attempts.remove(*attempt)),
            }
        }
        self.remove(id);
        failed
    }

    /// Once a second: closes what was not used for long, and lets no socket grow old. One that is
    /// `stale` takes no further query.
    pub fn sweep(&mut self, stale: impl Fn(&S) -> bool) {
        for socket in self.sockets.values_mut() {
            socket.age += 1;
            socket.quiet = if socket.used { 0 } else { socket.quiet + 1 };
            socket.used = false;
        }
        let old = |socket: &Socket<P, A, S>| {
            let is_old = socket.age >= socket.limits.age || stale(&socket.io);
            !socket.retired && is_old
        };
        self.all_that(old)
            .into_iter()
            .for_each(|id| self.retire(id));
        let unused = |socket: &Socket<P, A, S>| {
            let enough = if socket.retired {
                LINGER
            } else {
                socket.limits.idle
            };
            socket.ids.waiting().len() == 0 && socket.quiet >= enough
        };
        self.all_that(unused)
            .into_iter()
            .for_each(|id| self.remove(id));
        let mut idle: Vec<_> = self.idle().collect();
        idle.sort_unstable();
        let excess = idle.len().saturating_sub(MAX_IDLE);
        idle[..excess].iter().for_each(|(_, id)| self.remove(*id));
    }

    /// Sockets open.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.sockets.len() == 0
    }

    /// Sockets on which nobody waits, sorted so that the least useful is the smallest.
    fn idle(&self) -> impl Iterator<Item = (bool, SocketId)> {
        let sockets = self.sockets.iter();
        let idle = sockets.filter(|(_, socket)| socket.ids.waiting().len() == 0);
        idle.map(|(id, socket)| (!socket.retired, id))
    }

    fn all_that(&self, fits: impl Fn(&Socket<P, A, S>) -> bool) -> Vec<SocketId> {
        let sockets = self.sockets.iter();
        sockets
            .filter(|(_, socket)| fits(socket))
            .map(|(id, _)| id)
            .collect()
    }

    /// A socket that takes no further query is closed when nobody waits there any more.
    fn retire(&mut self, id: SocketId) {
        self.unready(id);
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.retired = true;
        }
    }

    fn remove(&mut self, id: SocketId) {
        self.unready(id);
        self.sockets.remove(id);
    }

    fn make_ready(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get(id) else {
            return;
        };
        match self.ready.iter_mut().find(|(peer, _)| *peer == socket.peer) {
            Some((_, sockets)) => sockets.push(id),
            None => self.ready.push((socket.peer.clone(), vec![id])),
        }
    }

    fn unready(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get(id) else {
            return;
        };
        let of_peer = |(peer, _): &(P, _)| *peer == socket.peer;
        if let Some(at) = self.ready.iter().position(of_peer) {
            let sockets = &mut self.ready[at].1;
            sockets.retain(|other| *other != id);
            if sockets.is_empty() {
                self.ready.swap_remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests;
