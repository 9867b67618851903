//! `*` What the parts share: the kernel's datapath, the learnt names, the tables of the rules.

use std::cell::RefCell;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use futures_lite::future;

use super::listeners::Listeners;
use crate::config::{Config, uci};
use crate::error::{IoContext as _, Result};
use crate::kernel::devices::Network;
use crate::kernel::{Datapath, DatapathConfig, FlowKey};
use crate::net::reactor::{Interest, Source};
use crate::rules::image::{Decision, Image};
use crate::rules::names::{NameTable, NameUpdate};
use crate::rules::{Flow, Proto};

/// Where OpenWrt says which devices a network has.
const NETWORKS: &str = "/etc/config/network";

/// What the parts share. None of its cells is borrowed across an await.
pub struct Plumbing {
    /// The settings in force.
    config: RefCell<Rc<Config>>,
    /// The rules' tables, for flows that the kernel has forgotten.
    image: Image,
    /// None in a configuration without interfaces (DNS for local listeners only), and at the end.
    pub datapath: RefCell<Option<Datapath>>,
    /// Names of addresses, learnt from answers.
    pub names: RefCell<NameTable>,
    /// When it began.
    pub started: Instant,
}

impl Plumbing {
    /// Starts the datapath.
    pub fn connect(
        config: Config,
        image: Image,
        listeners: &Listeners,
        run_dir: &Path,
    ) -> Result<Rc<Self>> {
        let names = NameTable::new(&image, config.main.max_names as usize);
        let datapath = if config.main.interfaces.is_empty() {
            None
        } else {
            let settings = DatapathConfig {
                interfaces: config.main.interfaces.clone(),
                networks: networks(),
                attach: config.main.attach,
                max_flows: config.main.max_flows,
                max_names: config.main.max_names,
                dns: config.dns.enabled,
                ports: listeners.ports,
                run_dir: run_dir.into(),
            };
            Some(Datapath::start(&image, settings)?)
        };
        Ok(Rc::new(Self {
            config: RefCell::new(Rc::new(config)),
            image,
            datapath: RefCell::new(datapath),
            names: RefCell::new(names),
            started: Instant::now(),
        }))
    }

    /// The settings in force.
    pub fn config(&self) -> Rc<Config> {
        self.config.borrow().clone()
    }

    /// Other settings are in force.
    pub fn set_config(&self, config: Config) {
        self.config.replace(Rc::new(config));
    }

    /// Stops the datapath and undoes what it did. All errors are logged, the last is returned.
    pub fn disconnect(&self) -> Result<()> {
        let Some(datapath) = self.datapath.take() else {
            return Ok(());
        };
        let mut errors = datapath.stop();
        for error in &errors {
            log::error!(event = "stop", reason:% = error; "");
        }
        errors.pop().map_or(Ok(()), Err)
    }

    /// What was decided about a flow that arrived at our socket.
    pub fn decide(&self, proto: Proto, src: SocketAddr, dst: SocketAddr) -> Decision {
        let key = FlowKey { src, dst, proto };
        let datapath = self.datapath.borrow();
        if let Some(entry) = datapath.as_ref().and_then(|datapath| datapath.flow(&key)) {
            return Decision {
                rule: entry.rule,
                verdict: entry.verdict,
            };
        }
        let flow = Flow {
            src: src.ip(),
            dst: dst.ip(),
            src_port: src.port(),
            dst_port: dst.port(),
            proto,
            dscp: 0,
            src_mac: None,
            interface: None,
        };
        self.image
            .classify(&flow, self.names.borrow().vector_of(dst.ip()))
    }

    /// An answer said that `name` has these addresses.
    pub fn learn(&self, name: Rc<str>, addrs: &[IpAddr], ttl: u32) {
        let mut updates = Vec::new();
        let addrs = addrs.iter().copied();
        self.names
            .borrow_mut()
            .learn(Instant::now(), name, addrs, ttl, &mut updates);
        self.apply(&updates);
    }

    /// Forgets names whose lease has ended.
    pub fn expire_names(&self) {
        let mut updates = Vec::new();
        self.names.borrow_mut().expire(Instant::now(), &mut updates);
        self.apply(&updates);
    }

    fn apply(&self, updates: &[NameUpdate]) {
        if let Some(datapath) = self.datapath.borrow_mut().as_mut()
            && !updates.is_empty()
            && let Err(error) = datapath.apply(updates)
        {
            log::warn!(event = "names", reason:% = error; "");
        }
    }

    /// Lets the kernel forget verdicts of UDP flows that are no longer used.
    pub fn advance_epoch(&self) {
        if let Some(datapath) = self.datapath.borrow_mut().as_mut()
            && let Err(error) = datapath.advance_epoch()
        {
            log::warn!(event = "epoch", reason:% = error; "");
        }
    }

    /// Attaches to devices that appear and learns the router's own addresses, for ever.
    pub async fn follow_links(&self) -> Result<()> {
        let what = || "follow changes of devices and addresses";
        let events = match self.datapath.borrow().as_ref() {
            None => None,
            Some(datapath) => Some(datapath.as_fd().try_clone_to_owned().context(what)?),
        };
        let Some(events) = events else {
            return future::pending().await;
        };
        let events: Source<OwnedFd> = Source::new(events, Interest::Read).context(what)?;
        loop {
            events.readable().await;
            // What follows takes all there is.
            events.drained();
            if let Some(datapath) = self.datapath.borrow_mut().as_mut()
                && let Err(error) = datapath.on_readable()
            {
                log::warn!(event = "links", reason:% = error; "");
            }
        }
    }
}

/// The networks of this router; none where there is no such file.
fn networks() -> Vec<Network> {
    let Ok(text) = fs::read(NETWORKS) else {
        return Vec::new();
    };
    let sections = uci::parse(&text).sections;
    let interfaces = sections
        .iter()
        .filter(|section| section.kind == "interface");
    let words = |section: &uci::Section, option: &str| {
        let values = section
            .get(option)
            .map(|entry| entry.values.as_slice())
            .unwrap_or_default();
        let words = values
            .iter()
            .flat_map(|value| value.text.split_whitespace());
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    interfaces
        .filter_map(|section| {
            Some(Network {
                name: section.name.clone()?,
                devices: [words(section, "device"), words(section, "ifname")].concat(),
                bridge: section.value("type") == Some("bridge"),
                proto: section.value("proto").unwrap_or_default().to_owned(),
            })
        })
        .collect()
}
