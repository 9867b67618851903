//! A datapath without a program, and from there to one with it: at the start, after a pause, and
//! after the kernel has refused. I/O: the `bpf` system call, rtnetlink, `/proc/sys`, the journal.

use std::path::Path;

use super::clean::{clean, undo_device};
use super::datapath::{Datapath, SYSCTLS};
use super::hooks::Refused;
use super::object::Object;
use super::sysctl;
use crate::error::{Error, Result};
use crate::rules::names::NameUpdate;

impl Datapath {
    /// Takes the program off all devices and undoes everything else, until [`Self::resume`];
    /// what could not be undone comes back. The counters stay.
    pub fn suspend(&mut self) -> Vec<Error> {
        self.counted = self.counters().unwrap_or_else(|_| self.counted.clone());
        self.takes_over = false;
        self.hooks.forget();
        self.object = None;
        self.own.clear();
        clean(&mut self.client, &mut self.journal)
    }

    /// Whether it is suspended.
    pub fn is_suspended(&self) -> bool {
        self.object.is_none()
    }

    /// To be called before an object is loaded for [`Self::resume`].
    ///
    /// # Errors
    /// When what it changes cannot be written down.
    pub fn prepare(&mut self) -> Result<()> {
        if !self.is_suspended() {
            return Ok(());
        }
        sysctl::enable_jit(Path::new(SYSCTLS), &mut self.journal)
    }

    /// Goes on after [`Self::suspend`] and [`Self::prepare`] with an object that was loaded for
    /// what is configured now, and with `names`, which are all that is known: attaches it. After
    /// an error it is still suspended.
    pub fn resume(&mut self, object: Object, names: &[NameUpdate]) -> Result<()> {
        if !self.is_suspended() {
            return Ok(());
        }
        let resumed = self.hang(object, names);
        match resumed {
            Ok(()) => self.tell_missing(),
            Err(_) => self.give_up(),
        }
        resumed
    }

    /// There is no object to go on with: it is as suspended as before [`Self::prepare`].
    pub fn give_up(&mut self) {
        self.hooks.forget();
        self.object = None;
        if self.takes_over {
            return;
        }
        for error in clean(&mut self.client, &mut self.journal) {
            log::warn!(event = "kernel.clean", reason:% = error; "");
        }
    }

    /// The LAN stays as a dead instance has closed it, until this one has it.
    pub fn stays_closed(&self) -> bool {
        self.takes_over
    }

    fn hang(&mut self, object: Object, names: &[NameUpdate]) -> Result<()> {
        self.journal.state.closed = self.config.kill_switch;
        self.own = self.addresses()?;
        let object = self.object.insert(object);
        object.set_hosts(&self.own, names)?;
        self.refresh_routes()?;
        match self.refresh_devices() {
            // One of them refuses us, and is tried again when anything changes.
            Err(error) if self.hooks.devices().next().is_some() => {
                log::error!(event = "kernel.devices", reason:% = error; "");
            }
            hung => hung?,
        }
        if std::mem::replace(&mut self.takes_over, false) {
            // It has the LAN: what cannot be undone is no reason to give that up, and open it.
            if let Err(error) = self.drop_inherited() {
                log::error!(event = "kernel.clean", reason:% = error; "tried again at the end");
            }
        }
        Ok(())
    }

    /// Lets go of devices that only a dead instance had, and that are not meant any more; those
    /// that cannot be undone stay known. One that refuses us is left as it is: the switch is to
    /// keep it closed.
    pub(super) fn drop_inherited(&mut self) -> Result<()> {
        let mut first = Ok(());
        self.journal.state.devices.retain(|device| {
            let refuses = |it: &Refused| it.device == device.name;
            if self.hooks.holds(device.index) || self.hooks.refused().iter().any(refuses) {
                return true;
            }
            let undone = undo_device(&mut self.client, device);
            let failed = undone.is_err();
            if first.is_ok() {
                first = undone;
            }
            failed
        });
        let saved = self.journal.save();
        first.and(saved)
    }

    /// Opens what a dead instance has closed, if that is not wanted any more and this one has
    /// not come to take it over.
    pub(super) fn open_closed(&mut self) -> Vec<Error> {
        if !self.takes_over || self.config.kill_switch {
            return Vec::new();
        }
        self.takes_over = false;
        clean(&mut self.client, &mut self.journal)
    }
}
