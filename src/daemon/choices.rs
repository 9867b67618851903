//! `*` Members of groups that were chosen by hand, in a file, so that they outlive the process.
//!
//! One `GROUP MEMBER` a line. It is written when a choice has changed and at no other time: it is
//! in flash, as a choice shall outlive a reboot too. Without a choice there is no file.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::{Value, json};

use crate::error::{IoContext as _, Result};
use crate::outbound::ways::Ways;

/// Name of the file in the state folder.
const FILE: &str = "choices";

/// No file that we write is longer: 64 groups, and two names of 64 bytes for each.
const MAX_FILE: u64 = 16 * 1024;

/// Choices, and the file that has them.
pub struct Choices {
    ways: Rc<Ways>,
    folder: PathBuf,
    /// What the file says.
    written: RefCell<String>,
}

impl Choices {
    /// Takes over what the file in `folder` says. A file that cannot be read is as good as none,
    /// which the log says.
    pub fn restore(ways: Rc<Ways>, folder: &Path) -> Rc<Self> {
        let path = folder.join(FILE);
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) => {
                let path = path.display().to_string();
                log::warn!(event = "choices", file = path.as_str(), reason:% = error; "");
                String::new()
            }
        };
        let skipped = ways.restore_choices(&text);
        if skipped > 0 {
            log::warn!(event = "choices", skipped; "of groups or members that are not there");
        }
        Rc::new(Self {
            ways,
            folder: folder.into(),
            written: RefCell::new(text),
        })
    }

    /// Chooses a member of a group, or with `auto` leaves it to the policy: `{"ok": true}`, or
    /// `{"ok": false, "reason": "..."}` and nothing has changed. `warning` says what kept the
    /// choice from being written; it is in force all the same.
    pub fn choose(&self, group: &str, member: &str) -> Value {
        let chosen = (member != "auto").then_some(member);
        if let Err(error) = self.ways.choose(group, chosen) {
            return json!({ "ok": false, "reason": error.to_string() });
        }
        log::info!(event = "group.choice", group, member; "");
        let mut answer = json!({ "ok": true, "group": group, "choice": chosen });
        if let Err(error) = self.save() {
            log::warn!(event = "choices", reason:% = error; "");
            answer["warning"] = error.to_string().into();
        }
        answer
    }

    /// Writes what is to be kept, if that is something else than what is there.
    pub fn save(&self) -> Result<()> {
        let text = self.ways.kept_choices();
        if text == *self.written.borrow() {
            return Ok(());
        }
        let path = self.folder.join(FILE);
        let saved = match text.is_empty() {
            true => remove(&path, &self.folder),
            false => write(&path, &self.folder, &text),
        };
        saved.context(|| format!("write {}", path.display()))?;
        *self.written.borrow_mut() = text;
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_FILE).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(text)
}

/// A loss of power leaves the old file or the new one, never half of it.
fn write(path: &Path, folder: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)
}

fn remove(path: &Path, folder: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Others may have files there.
    let _ = fs::remove_dir(folder);
    Ok(())
}
