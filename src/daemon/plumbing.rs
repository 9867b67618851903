//! `*` What the parts share: the kernel's datapath, the learnt names, the tables of the rules.

mod base;
mod verdicts;

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use futures_lite::future;

use super::listeners::Listeners;
use super::refusal::Refusal;
use crate::config::Config;
use crate::error::{Error, IoContext as _, Result};
use crate::kernel::{Datapath, DatapathConfig, Object};
use crate::net::reactor::{Interest, Source};
use crate::rules::Kept;
use crate::rules::image::Image;
use crate::rules::names::NameTable;

pub use base::Base;

/// What the parts share. None of its cells is borrowed across an await.
pub struct Plumbing {
    /// The settings in force.
    config: RefCell<Arc<Config>>,
    /// The rules' tables, for flows that the kernel has forgotten.
    pub(super) image: RefCell<Arc<Image>>,
    /// None in a configuration without interfaces (DNS for local listeners only), and at the end.
    pub datapath: RefCell<Option<Datapath>>,
    /// Why the datapath is not in use though it should be; None while it is, or is suspended.
    pub(super) failure: RefCell<Option<Refusal>>,
    /// Names of addresses, learnt from answers.
    pub names: RefCell<NameTable>,
    /// When it began.
    pub started: Instant,
    base: Base,
}

/// Rules that are ready to be put in force, made by another thread.
pub struct NewRules {
    /// Their tables.
    pub image: Image,
    /// What they have in common with those in force.
    pub kept: Kept,
    /// None where nothing has to be loaded: while suspended, or without interfaces.
    pub object: Option<Object>,
}

impl Plumbing {
    /// With a datapath that is suspended yet.
    ///
    /// # Errors
    /// Another instance has the LAN, or the kernel cannot be asked at all.
    pub fn connect(
        config: Config,
        image: Image,
        listeners: &Listeners,
        run_dir: &Path,
    ) -> Result<Rc<Self>> {
        let plumbing = Self {
            names: RefCell::new(NameTable::new(&image, config.main.max_names as usize)),
            config: RefCell::new(Arc::new(config)),
            image: RefCell::new(Arc::new(image)),
            datapath: RefCell::default(),
            failure: RefCell::default(),
            started: Instant::now(),
            base: Base {
                ports: listeners.ports,
                run_dir: run_dir.into(),
            },
        };
        let config = plumbing.config();
        if !config.main.interfaces.is_empty() {
            let datapath = Datapath::open(plumbing.base.datapath(&config))?;
            plumbing.datapath.replace(Some(datapath));
        }
        Ok(Rc::new(plumbing))
    }

    /// The settings in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// For [`Base::datapath`] on another thread.
    pub fn base(&self) -> Base {
        self.base.clone()
    }

    /// What the datapath goes by; None without one.
    pub fn datapath_config(&self) -> Option<DatapathConfig> {
        let datapath = self.datapath.borrow();
        datapath.as_ref().map(|datapath| datapath.config().clone())
    }

    /// The programs that an object is asked for that takes the place of the one in use; None
    /// when there is none: no interfaces, or suspended.
    pub fn programs(&self) -> Option<Vec<&'static str>> {
        let datapath = self.datapath.borrow();
        let in_use = datapath.as_ref().filter(|it| !it.is_suspended());
        in_use.map(Datapath::programs)
    }

    /// Other settings are in force from now on, but for what comes back: a device that the
    /// kernel does not let us have, say. An error when it refuses all: nothing has changed then.
    pub fn set_config(
        &self,
        config: Config,
        datapath: DatapathConfig,
        rules: Option<NewRules>,
    ) -> Result<Vec<Error>> {
        let was_suspended = self.is_suspended();
        let amiss = match (rules, self.datapath.borrow_mut().as_mut()) {
            (Some(rules), running) => self.set_rules(running, rules, datapath)?,
            // Also when nothing has changed: a device that refuses us is tried again.
            (None, Some(running)) => running.reconfigure(datapath),
            (None, None) => Vec::new(),
        };
        if let Some(error) = amiss.first()
            && was_suspended == Some(false)
            && self.is_suspended() == Some(true)
        {
            self.fail(error);
        }
        self.config.replace(Arc::new(config));
        if let Some(failure) = self.failure.borrow_mut().as_mut() {
            failure.on_settings(Instant::now());
        }
        Ok(amiss)
    }

    fn set_rules(
        &self,
        running: Option<&mut Datapath>,
        rules: NewRules,
        config: DatapathConfig,
    ) -> Result<Vec<Error>> {
        let NewRules {
            image,
            kept,
            object,
        } = rules;
        let mut updates = Vec::new();
        let max_names = config.max_names as usize;
        let names = self.names.borrow().under(&image, max_names, &mut updates);
        let mut amiss = Vec::new();
        if let Some(datapath) = running {
            // Orders come one after the other: one that was suspended when the object was made
            // still is.
            amiss = datapath.replace(object, &image, config, &updates, &kept)?;
        }
        self.names.replace(names);
        self.image.replace(Arc::new(image));
        Ok(amiss)
    }

    /// Stops the datapath and undoes what it did. All errors are logged, the last is returned.
    pub fn disconnect(&self) -> Result<()> {
        let Some(datapath) = self.datapath.take() else {
            return Ok(());
        };
        last_of(datapath.stop())
    }

    /// Lets the kernel forget verdicts of UDP flows that are no longer used.
    pub fn advance_epoch(&self) {
        if let Some(datapath) = self.datapath.borrow_mut().as_mut()
            && let Err(error) = datapath.advance_epoch()
        {
            log::warn!(event = "epoch", reason:% = error; "");
        }
    }

    fn on_links(&self) {
        let mut datapath = self.datapath.borrow_mut();
        let Some(datapath) = datapath.as_mut() else {
            return;
        };
        let was_suspended = datapath.is_suspended();
        match datapath.on_readable() {
            Ok(()) => {}
            Err(error) if datapath.is_suspended() && !was_suspended => self.fail(&error),
            Err(error) => log::warn!(event = "links", reason:% = error; ""),
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
            self.on_links();
            if let Some(failure) = self.failure.borrow_mut().as_mut() {
                failure.on_event(Instant::now());
            }
        }
    }
}

pub(super) fn last_of(mut errors: Vec<Error>) -> Result<()> {
    for error in &errors {
        log::error!(event = "stop", reason:% = error; "");
    }
    errors.pop().map_or(Ok(()), Err)
}
