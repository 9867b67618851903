//! `*` The datapath let go of and taken up again: by hand, or since the kernel refuses it.
//!
//! What takes long is done by another thread between [`Plumbing::paused`] and
//! [`Plumbing::resume`]; see [`super::change::wake`].

use std::sync::Arc;
use std::time::Instant;

use super::plumbing::{Base, Plumbing, last_of};
use super::refusal::Refusal;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::kernel::{Datapath, DatapathConfig, Object};
use crate::rules::image::Image;

/// How words about a datapath end that the kernel refuses altogether.
pub const TRIED_AGAIN: &str = "it is tried again";

/// What a datapath is made ready from that is to go on.
pub struct Paused {
    /// The settings in force.
    pub config: Arc<Config>,
    /// The tables of its rules.
    pub image: Arc<Image>,
    /// For the datapath's configuration.
    pub base: Base,
}

/// Ready to go on with.
pub struct Awake {
    /// What the datapath is to go by.
    pub config: DatapathConfig,
    /// Made for it, and verified.
    pub object: Object,
}

impl Plumbing {
    /// What it takes to go on after [`Self::suspend`], or after the kernel has refused. None:
    /// there is nothing to go on with, or it was never interrupted.
    pub fn paused(&self) -> Option<Paused> {
        let mut datapath = self.datapath.borrow_mut();
        let datapath = datapath.as_mut().filter(|it| it.is_suspended())?;
        if let Err(error) = datapath.prepare() {
            // Slower, but no reason not to work.
            log::warn!(event = "kernel.prepare", reason:% = error; "");
        }
        Some(Paused {
            config: self.config(),
            image: self.image.borrow().clone(),
            base: self.base(),
        })
    }

    /// Goes on with what was made of [`Self::paused`].
    ///
    /// # Errors
    /// Why the kernel refuses; it is tried again from now on.
    pub fn resume(&self, awake: Result<Awake>) -> Result<()> {
        let mut datapath = self.datapath.borrow_mut();
        let Some(datapath) = datapath.as_mut() else {
            return Ok(());
        };
        let resumed = match awake {
            Ok(awake) => self.hang(datapath, awake),
            Err(error) => {
                datapath.give_up();
                Err(error)
            }
        };
        match &resumed {
            Ok(()) if self.failure.take().is_some() => {
                log::info!(event = "datapath", state = "up"; "");
            }
            Ok(()) => {}
            // By hand or not: from now on it is wanted.
            Err(error) => self.fail(error),
        }
        resumed
    }

    fn hang(&self, datapath: &mut Datapath, awake: Awake) -> Result<()> {
        datapath.reconfigure(awake.config);
        let image = self.image.borrow();
        let mut updates = Vec::new();
        let max_names = self.config().main.max_names as usize;
        let names = self.names.borrow().under(&image, max_names, &mut updates);
        datapath.resume(awake.object, &updates)?;
        self.names.replace(names);
        Ok(())
    }

    /// Takes the program off all devices until [`Self::resume`]. All errors are logged, the
    /// last is returned.
    pub fn suspend(&self) -> Result<()> {
        self.failure.take();
        let mut datapath = self.datapath.borrow_mut();
        last_of(datapath.as_mut().map_or_else(Vec::new, Datapath::suspend))
    }

    /// Whether the datapath is suspended; None without one.
    pub fn is_suspended(&self) -> Option<bool> {
        Some(self.datapath.borrow().as_ref()?.is_suspended())
    }

    /// Notes that the kernel refuses the datapath; a reason is told once.
    pub(super) fn fail(&self, error: &Error) {
        let (reason, now) = (error.to_string(), Instant::now());
        let mut failure = self.failure.borrow_mut();
        let is_told = match failure.as_mut() {
            Some(failure) => !failure.again(reason, now),
            None => {
                *failure = Some(Refusal::new(reason, now));
                false
            }
        };
        if !is_told {
            log::error!(event = "datapath", state = "down", reason:% = error;
                "it is tried again; until then the LAN is as it was before");
        }
    }

    /// What single devices refuse, though others have the program.
    pub fn refusals(&self) -> Vec<String> {
        let datapath = self.datapath.borrow();
        let refused = datapath.as_ref().map_or(&[][..], Datapath::refused);
        refused.iter().map(|it| it.reason.clone()).collect()
    }

    /// Why there is no datapath though there should be one.
    pub fn failure(&self) -> Option<String> {
        let failure = self.failure.borrow();
        failure.as_ref().map(|failure| failure.reason().to_owned())
    }

    /// Whether it is time to try again what the kernel has refused.
    pub fn is_due(&self) -> bool {
        let failure = self.failure.borrow();
        failure.as_ref().is_some_and(|it| it.is_due(Instant::now()))
    }

    /// What a refusal of all means to whoever has asked: its reason, and how the LAN is.
    pub fn explain(&self, error: &Error) -> String {
        let datapath = self.datapath.borrow();
        let closed = datapath.as_ref().is_some_and(Datapath::stays_closed);
        let lan = match closed {
            true => "the LAN stays as the kill switch has closed it",
            false => "the LAN is as without dae",
        };
        format!("{error}; {lan}, and {TRIED_AGAIN}")
    }
}
