//! Other rules, and other settings, under a running datapath. I/O: the `bpf` system call and
//! rtnetlink.

use std::hash::BuildHasher as _;

use foldhash::{HashSet, fast::FixedState};

use super::config::DatapathConfig;
use super::datapath::Datapath;
use super::flows;
use super::hooks::Tools;
use super::object::Object;
use crate::error::{Error, Result};
use crate::rules::Kept;
use crate::rules::image::Image;
use crate::rules::names::NameUpdate;

impl Datapath {
    /// Goes on with other rules, in one step per device: `object` was made for them and for
    /// `config` by [`Object::load`] (none is needed while suspended), `names` are all that is
    /// known of names under them, and `kept` is what they have in common with the old ones.
    /// Connections under way go on. After an error nothing has changed; what comes back is
    /// that of [`Self::reconfigure`].
    pub fn replace(
        &mut self,
        object: Option<Object>,
        image: &Image,
        config: DatapathConfig,
        names: &[NameUpdate],
        kept: &Kept,
    ) -> Result<Vec<Error>> {
        let (Some(old), Some(mut object)) = (&mut self.object, object) else {
            self.config = config;
            self.counted = self.counted.under(kept);
            return Ok(self.open_closed());
        };
        object.set_hosts(&self.own, names)?;
        object.inherit(old)?;
        let mut carried = HashSet::default();
        carry(old, &mut object, kept, image, &mut carried)?;
        let mut tools = Tools {
            client: &mut self.client,
            journal: &mut self.journal,
            config: &config,
        };
        self.hooks.replace(&mut tools, old, &mut object)?;
        // Those that began while we were about it; the old program sees no more of them.
        if let Err(error) = carry(old, &mut object, kept, image, &mut carried) {
            log::warn!(event = "kernel.flows", reason:% = error; "");
        }
        let counted = old.counters();
        self.object = Some(object);
        match counted {
            Ok(counted) => self.counted = self.counted.plus(&counted),
            Err(error) => log::warn!(event = "kernel.counters", reason:% = error; ""),
        }
        self.counted = self.counted.under(kept);
        Ok(self.reconfigure(config))
    }

    /// Goes on with another configuration, whose changes need no other object: attaches to
    /// interfaces that are new, lets go of those that are no longer meant. What a device
    /// refuses comes back; it is tried again when anything changes. When it is suspended then,
    /// none has the program.
    pub fn reconfigure(&mut self, config: DatapathConfig) -> Vec<Error> {
        let rehang = self.config.hook() != config.hook();
        let same_interfaces = self.config.interfaces == config.interfaces;
        self.config = config;
        if self.is_suspended() {
            return self.open_closed();
        }
        let hung = match &mut self.object {
            Some(object) if rehang => {
                let mut tools = Tools {
                    client: &mut self.client,
                    journal: &mut self.journal,
                    config: &self.config,
                };
                self.hooks.rehang(&mut tools, object)
            }
            _ => Ok(()),
        };
        if hung.is_err() {
            // A switch that a dead process could not hold is off, and tried again next time.
            self.config.kill_switch = self.journal.state.closed;
        }
        let closed = self.config.kill_switch;
        let switched = match &mut self.object {
            Some(object) if self.journal.state.closed != closed => {
                self.journal.state.closed = closed;
                object.set_closed(closed).and(self.journal.save())
            }
            _ => Ok(()),
        };
        let followed = self.refresh_devices();
        let mut dropped = Ok(());
        if !same_interfaces {
            self.tell_missing();
            dropped = self.drop_inherited();
        }
        let amiss = [hung, switched, followed, dropped].into_iter();
        let amiss = amiss.filter_map(Result::err);
        amiss.chain(self.suspend_if_refused()).collect()
    }
}

/// Lets flows of the old object go on in the new one, but for those in `done`, where those that
/// do are entered.
fn carry(
    old: &Object,
    new: &mut Object,
    kept: &Kept,
    image: &Image,
    done: &mut HashSet<u64>,
) -> Result<()> {
    let hasher = FixedState::default();
    old.copy_flows(new, |key, value| {
        let carried = flows::carried(key, value, kept, image)?;
        // Two flows of one number: the second is decided anew, as one that was forgotten.
        done.insert(hasher.hash_one(key)).then_some(carried)
    })
}
