//! Our program on the devices of the configured interfaces: hung on those that appear, taken
//! from those that are no longer meant, replaced on all of them. I/O: rtnetlink and the `bpf`
//! system call.

use super::DatapathConfig;
use super::attach::{self, Hook};
use super::devices::{self, Device};
use super::netlink::Client;
use super::object::Object;
use super::state::Journal;
use super::wanted::{program, wanted};
use crate::config::Attach;
use crate::error::{IoContext, Result};

/// A device with our program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedDevice {
    /// Name.
    pub name: String,
    /// Index of the interface in the configuration.
    pub interface: u16,
    /// How the program hangs there.
    pub hook: HookKind,
}

/// How a program hangs on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    /// A TCX link.
    Tcx,
    /// A filter of the clsact qdisc.
    Clsact,
}

impl std::fmt::Display for HookKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        })
    }
}

/// All devices with our program.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    attached: Vec<Attached>,
    /// Devices that should have the program, as the last try found them.
    refused: Vec<Refused>,
}

/// A device that should have our program and has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Name.
    pub device: String,
    /// Why not.
    pub reason: String,
}

#[derive(Debug)]
struct Attached {
    device: Device,
    interface: u16,
    hook: Hook,
}

/// What a change of devices takes.
pub(super) struct Tools<'a> {
    pub client: &'a mut Client,
    pub journal: &'a mut Journal,
    pub config: &'a DatapathConfig,
}

impl Attached {
    fn kind(&self) -> HookKind {
        match self.hook {
            Hook::Tcx(_) => HookKind::Tcx,
            Hook::Clsact => HookKind::Clsact,
        }
    }
}

impl Hooks {
    /// Devices with our program.
    pub fn devices(&self) -> impl Iterator<Item = AttachedDevice> + '_ {
        self.attached.iter().map(|attached| AttachedDevice {
            name: attached.device.name.clone(),
            interface: attached.interface,
            hook: attached.kind(),
        })
    }

    /// Devices that are there and refuse us.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Whether an interface of the configuration has a device with our program.
    pub fn covers(&self, interface: u16) -> bool {
        self.attached.iter().any(|it| it.interface == interface)
    }

    /// Whether a device has our program.
    pub fn holds(&self, ifindex: u32) -> bool {
        self.attached.iter().any(|it| it.device.index == ifindex)
    }

    /// The programs that are in use.
    pub fn programs(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.attached
            .iter()
            .filter_map(|it| program(&it.device).ok())
    }

    /// Lets go of everything. TCX links go with that; the journal knows of the filters.
    pub fn forget(&mut self) {
        self.attached.clear();
        self.refused.clear();
    }

    /// Brings devices in line with the configuration and with what exists. Does all it can, and
    /// returns the first error: a device that refuses us must not keep us from the others.
    pub fn follow(&mut self, tools: &mut Tools<'_>, object: &mut Object) -> Result<()> {
        let existing = devices::list(tools.client).context(|| "list devices")?;
        let wanted = wanted(&existing, tools.config);
        let mut first = Ok(());
        for attached in std::mem::take(&mut self.attached) {
            let index = attached.device.index;
            let interface = wanted.iter().find(|(device, _)| device.index == index);
            match interface {
                Some((_, interface)) => {
                    if *interface != attached.interface {
                        first = first.and(object.set_interface(index, Some(*interface)));
                    }
                    self.attached.push(Attached {
                        interface: *interface,
                        ..attached
                    });
                }
                None => {
                    let gone = existing.iter().all(|device| device.index != index);
                    first = first.and(drop_device(tools, object, attached, gone));
                }
            }
        }
        self.refused.clear();
        for (device, interface) in wanted {
            if self.holds(device.index) {
                continue;
            }
            let Device { name, index, .. } = device.clone();
            if let Err(error) = self.attach(tools, object, device, interface) {
                if is_gone(tools.client, index) {
                    // Meanwhile: it refuses nothing, and there is an event to come.
                    first = first.and(forget_device(tools, object, index));
                    continue;
                }
                self.refused.push(Refused {
                    device: name,
                    reason: error.to_string(),
                });
                first = first.and(Err(error));
            }
        }
        first
    }

    /// Hangs the program anew wherever it hangs otherwise than configured: the new hook comes
    /// before the old one goes, and a packet that meets both meets the same rules twice.
    pub fn rehang(&mut self, tools: &mut Tools<'_>, object: &mut Object) -> Result<()> {
        let how = tools.config.hook();
        let mut first = Ok(());
        for at in 0..self.attached.len() {
            let attached = &self.attached[at];
            let fits = match (how, attached.kind()) {
                (Attach::Clsact, kind) => kind == HookKind::Clsact,
                // Perhaps refused before, and so it will be again.
                (Attach::Tcx | Attach::Auto, kind) => kind == HookKind::Tcx,
            };
            if fits {
                continue;
            }
            let device = attached.device.clone();
            let hung = hang(tools, object, &device).and_then(|hook| {
                let before = std::mem::replace(&mut self.attached[at].hook, hook);
                let is_tcx = self.attached[at].kind() == HookKind::Tcx;
                drop(before);
                if is_tcx {
                    remove_qdisc(tools, &device)
                } else {
                    Ok(())
                }
            });
            first = first.and(hung);
        }
        first
    }

    /// Puts the programs of `new` in the place of those of `old`, device by device, each in one
    /// step. After an error everything is as before. Somebody may have taken our filter away:
    /// such a device is left for [`Self::follow`].
    pub fn replace(
        &mut self,
        tools: &mut Tools<'_>,
        old: &mut Object,
        new: &mut Object,
    ) -> Result<()> {
        let existing = devices::list(tools.client).context(|| "list devices")?;
        for (device, interface) in wanted(&existing, tools.config) {
            if self.holds(device.index) {
                new.set_interface(device.index, Some(interface))?;
            }
        }
        let client = std::cell::RefCell::new(&mut *tools.client);
        let forth = |it: &Attached| it.point_to(&mut client.borrow_mut(), new);
        let back = |it: &Attached| {
            if let Err(error) = it.point_to(&mut client.borrow_mut(), old) {
                log::error!(event = "kernel.replace", device:% = it.device.name,
                    reason:% = error; "");
            }
        };
        let there = all_or_none(&self.attached, forth, back)?;
        let mut there = there.into_iter();
        self.attached.retain(|_| there.next() == Some(true));
        Ok(())
    }

    fn attach(
        &mut self,
        tools: &mut Tools<'_>,
        object: &mut Object,
        device: Device,
        interface: u16,
    ) -> Result<()> {
        program(&device)?;
        object.set_interface(device.index, Some(interface))?;
        let hook = hang(tools, object, &device)?;
        let attached = Attached {
            device,
            interface,
            hook,
        };
        log::info!(event = "kernel.attached", device:% = attached.device.name,
            hook:% = attached.kind(); "");
        self.attached.push(attached);
        Ok(())
    }
}

impl Attached {
    /// False: there is nothing to be replaced any more.
    fn point_to(&self, client: &mut Client, object: &mut Object) -> Result<bool> {
        let Device { name, index, .. } = &self.device;
        let program = object.program(program(&self.device)?)?;
        attach::replace(client, program, (name, *index), &self.hook)
    }
}

/// Does something with all of them; when one fails, undoes it with those before.
fn all_or_none<T, R, E>(
    items: &[T],
    mut forth: impl FnMut(&T) -> Result<R, E>,
    back: impl FnMut(&T),
) -> Result<Vec<R>, E> {
    let mut done = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        match forth(item) {
            Ok(result) => done.push(result),
            Err(error) => {
                items[..at].iter().rev().for_each(back);
                return Err(error);
            }
        }
    }
    Ok(done)
}

fn hang(tools: &mut Tools<'_>, object: &mut Object, device: &Device) -> Result<Hook> {
    let Device { name, index, .. } = device;
    let program = object.program(program(device)?)?;
    let journal = &mut *tools.journal;
    journal.state.device(name, *index);
    journal.save()?;
    attach::attach(
        tools.client,
        program,
        (name, *index),
        tools.config.hook(),
        &mut || {
            journal.state.device(name, *index).made_qdisc = true;
            journal.save()
        },
    )
}

/// A device that is gone, or no longer meant.
fn drop_device(
    tools: &mut Tools<'_>,
    object: &mut Object,
    attached: Attached,
    gone: bool,
) -> Result<()> {
    let Attached { device, hook, .. } = attached;
    let event = if gone {
        "kernel.device_gone"
    } else {
        "kernel.detached"
    };
    log::info!(event, device:% = device.name; "");
    drop(hook);
    let mut undone = Ok(());
    if !gone {
        undone = attach::detach_clsact(tools.client, &device.name, device.index)
            .and(remove_qdisc(tools, &device));
    }
    match undone {
        Ok(()) => forget_device(tools, object, device.index),
        Err(_) => undone.and(object.set_interface(device.index, None)),
    }
}

/// A device that has nothing of ours.
fn forget_device(tools: &mut Tools<'_>, object: &mut Object, index: u32) -> Result<()> {
    tools.journal.state.devices.retain(|it| it.index != index);
    let saved = tools.journal.save();
    saved.and(object.set_interface(index, None))
}

fn is_gone(client: &mut Client, index: u32) -> bool {
    devices::list(client).is_ok_and(|all| all.iter().all(|it| it.index != index))
}

/// Removes the qdisc of a device if it is ours to remove.
fn remove_qdisc(tools: &mut Tools<'_>, device: &Device) -> Result<()> {
    let entry = tools.journal.state.device(&device.name, device.index);
    if !entry.made_qdisc {
        return Ok(());
    }
    attach::remove_qdisc(tools.client, &device.name, device.index)?;
    entry.made_qdisc = false;
    tools.journal.save()
}

#[cfg(test)]
mod tests {
    use super::all_or_none;

    #[test]
    fn what_fails_in_the_middle_is_undone_from_there_backwards() {
        let run = |bad: i32| {
            let mut undone = Vec::new();
            let forth = |it: &i32| if *it == bad { Err(*it) } else { Ok(it * 10) };
            let done = all_or_none(&[1, 2, 3], forth, |it| undone.push(*it));
            (done, undone)
        };
        assert_eq!(run(9), (Ok(vec![10, 20, 30]), vec![]));
        assert_eq!(run(3), (Err(3), vec![2, 1]));
        assert_eq!(run(1), (Err(1), vec![]));
    }
}
