//! What we changed and a dead process cannot take back: written down before or as soon as it
//! is done, so that the next start can undo it. I/O: one file of the run folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{IoContext, Result};

/// File in the run folder.
const FILE: &str = "state.json";

/// The journal, kept equal to its file.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// What is to be undone.
    pub state: State,
}

/// What is to be undone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Devices that may have our filter.
    pub devices: Vec<DeviceState>,
    /// Values to restore.
    pub sysctls: Vec<SysctlState>,
    /// The kill switch is on: what is left here keeps the LAN from going round the proxy.
    pub closed: bool,
}

/// A device that may have our filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceState {
    /// Name, for messages.
    pub name: String,
    /// Index.
    pub index: u32,
    /// The clsact qdisc is ours to remove.
    pub made_qdisc: bool,
}

/// A sysctl that we set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SysctlState {
    /// Below `/proc/sys`.
    pub name: String,
    /// What it was.
    pub before: String,
    /// What we made of it; if it is something else now, it is not ours any more.
    pub set: String,
}

impl State {
    /// The entry of a device, made if need be: one per device, however often it is tried.
    pub fn device(&mut self, name: &str, index: u32) -> &mut DeviceState {
        let found = self.devices.iter().position(|it| it.index == index);
        let at = found.unwrap_or(self.devices.len());
        if found.is_none() {
            self.devices.push(DeviceState {
                name: name.into(),
                index,
                made_qdisc: false,
            });
        }
        &mut self.devices[at]
    }
}

impl Journal {
    /// Opens the journal of a run folder, which is made if need be. A file that is missing,
    /// or that no version of ours wrote, says that there is nothing to undo.
    pub fn open(run_dir: &Path) -> Result<Self> {
        fs::create_dir_all(run_dir).context(|| format!("make {}", run_dir.display()))?;
        let path = run_dir.join(FILE);
        let state = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(error).context(|| format!("read {}", path.display())),
        };
        Ok(Self { path, state })
    }

    /// Writes the file, in one step.
    pub fn save(&self) -> Result<()> {
        let bytes = serde_json::to_vec(&self.state)
            .map_err(io::Error::from)
            .context(|| "write the state")?;
        let new = self.path.with_extension("new");
        let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, &self.path));
        if written.is_err() {
            // On a full file system the half of it is left.
            let _ = fs::remove_file(&new);
        }
        written.context(|| format!("write {}", self.path.display()))
    }

    /// Removes the file: nothing is left to undo.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context(|| format!("remove {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}
