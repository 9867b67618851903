//! The life of a session: dial, send what waited, hand back answers until the far side or the
//! table ends it. I/O.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use futures_lite::future;
use log::Level;

use super::{BATCH, Carrier, Udp, Worker, is_passing};
use crate::flow::live::{Counted, Live};
use crate::flow::session::{End, Id};
use crate::flow::shared::Asked;
use crate::flow::stats::{add, count};
use crate::net::reactor;
use crate::outbound::DialError;
use crate::outbound::dial::{self, Link};
use crate::rules::Proto;

impl Udp {
    /// Begins a session.
    pub(super) fn open(
        self: &Rc<Self>,
        id: Id,
        asked: Asked,
        ends: (SocketAddr, SocketAddr),
        now: Instant,
    ) -> Worker {
        self.shared.busy.notify();
        let rule = self.shared.rule_name(asked.rule);
        let live = Rc::new(Live::new(Proto::Udp, ends, asked.way, rule, now));
        let (counted, leash) = self.workers.enter();
        let task = reactor::spawn(Rc::clone(self).serve(id, Rc::clone(&live), counted));
        Worker {
            task,
            _leash: leash,
            live,
            carrier: None,
        }
    }

    async fn serve(self: Rc<Self>, id: Id, live: Rc<Live>, _counted: Counted) {
        let reason = match self.dial(&live).await {
            Ok(link) => {
                let carrier = Rc::new(Carrier {
                    live: Rc::clone(&live),
                    link,
                });
                self.start(id, &carrier);
                let answers = self.answers(id, &carrier);
                let ended = async { carrier.link.ended().await };
                DialError::from(future::or(ended, answers).await)
            }
            Err(error) => error,
        };
        let end = self.sessions.borrow_mut().end(id, Instant::now());
        let (level, event, worker) = match end {
            Some(End::Failed(worker)) => (Level::Warn, "flow.fail", worker),
            Some(End::Closed(worker)) => (Level::Debug, "flow.end", worker),
            None => return,
        };
        log::log!(level, event, proto = "udp", node = live.node_name(),
            src:% = live.client, dst:% = live.destination, reason:% = reason; "");
        // Dropping the task would cancel it; it is at its end.
        worker.task.detach();
    }

    async fn dial(&self, live: &Live) -> Result<Link, DialError> {
        let link = dial::udp(&self.shared.ways, live.asked().id, live.destination).await?;
        live.carried_by(&link.carrier.way);
        log::debug!(event = "flow.open", proto = "udp", node = live.node_name(),
            src:% = live.client, dst:% = live.destination; "");
        Ok(link)
    }

    fn start(&self, id: Id, carrier: &Rc<Carrier>) {
        let mut table = self.sessions.borrow_mut();
        if let Some((worker, queue)) = table.ready(id, Instant::now()) {
            worker.carrier = Some(Rc::clone(carrier));
            let queue = queue.iter();
            self.send(
                carrier,
                queue.map(|queued| (queued.destination, &*queued.payload)),
            );
        }
    }

    /// Hands answers to the client until the association breaks.
    async fn answers(&self, id: Id, carrier: &Carrier) -> io::Error {
        loop {
            carrier.link.readable().await;
            match self.take_answers(carrier) {
                Ok(count) => {
                    if count > 0 {
                        self.sessions.borrow_mut().touch(id, Instant::now());
                    }
                    if count == BATCH {
                        future::yield_now().await;
                    }
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return error,
            }
        }
    }

    /// Takes what is there, at most a batch; how many there were.
    fn take_answers(&self, carrier: &Carrier) -> io::Result<usize> {
        let (mut batch, mut outbox) = (self.batch.borrow_mut(), self.outbox.borrow_mut());
        let packets = carrier.link.receive(&mut batch)?;
        let count = packets.received();
        let answers = packets.filter_map(|packet| {
            let answer = packet.and_then(|packet| carrier.link.open(packet).ok());
            if answer.is_none() {
                count!(self.stats, dropped_malformed);
            }
            answer
        });
        let sent = self
            .replier
            .send_many(&mut outbox, carrier.live.client, answers);
        carrier.live.add_down(sent.bytes);
        add!(self.stats, datagrams, sent.datagrams);
        add!(self.stats, dropped_reply, sent.dropped);
        Ok(count)
    }
}
