//! `*` What is made ready by another thread, since it takes long on a small router and queries go
//! on meanwhile: a configuration, read, compared, compiled and loaded; and the program for a
//! datapath that goes on.

use std::path::PathBuf;
use std::sync::Arc;

use super::load;
use super::pause::{Awake, Paused};
use super::plumbing::{Base, NewRules};
use crate::config::{Change, Config};
use crate::error::Error;
use crate::kernel::{self, DatapathConfig, Object};
use crate::rules::Kept;

/// What it is made from.
pub struct Running {
    /// Where the wanted configuration is.
    pub file: PathBuf,
    /// The one in force.
    pub config: Arc<Config>,
    /// For the datapath's configuration.
    pub base: Base,
    /// What the datapath goes by; None without one.
    pub datapath: Option<DatapathConfig>,
    /// The programs it uses; None when there is none, or while it is suspended.
    pub programs: Option<Vec<&'static str>>,
}

/// Ready to be put in force.
pub struct Ready {
    /// The settings to go on with.
    pub config: Config,
    /// What waits for a restart.
    pub restart: Vec<&'static str>,
    /// What the datapath is to go by.
    pub datapath: DatapathConfig,
    /// None when rules are as before.
    pub rules: Option<NewRules>,
}

/// Makes it ready.
///
/// # Errors
/// All problems of the file as `dae check` prints them, or what the kernel said.
pub fn prepare(running: Running) -> Result<Ready, Vec<String>> {
    let wanted = load::again(&running.file)?;
    let Change {
        config,
        restart,
        rules,
    } = running.config.change_to(wanted);
    let datapath = running.base.datapath(&config);
    let other_size = config.main.max_names != running.config.main.max_names
        || running
            .datapath
            .is_some_and(|running| running.needs_another_object(&datapath));
    let rules = rules.or_else(|| other_size.then(|| Kept::everything(config.rules.len())));
    let rules = rules.map(|kept| {
        let image = load::compile(&running.file, &config)?;
        let load = |programs: Vec<&str>| -> Result<Object, Error> {
            let mut object = Object::load(&image, &datapath)?;
            for program in programs {
                object.program(program)?;
            }
            for program in kernel::programs(&datapath)? {
                // Of a device that is new: if it is refused, that device is told of alone.
                let _ = object.program(program);
            }
            Ok(object)
        };
        let object = running.programs.map(load).transpose();
        Ok::<_, Vec<String>>(NewRules {
            object: object.map_err(|error| vec![error.to_string()])?,
            image,
            kept,
        })
    });
    Ok(Ready {
        config,
        restart,
        datapath,
        rules: rules.transpose()?,
    })
}

/// Has the kernel take the program for a datapath that is to go on.
///
/// # Errors
/// What the kernel said.
pub fn wake(paused: Paused) -> Result<Awake, Error> {
    let config = paused.base.datapath(&paused.config);
    let mut object = Object::load(&paused.image, &config)?;
    let programs = kernel::programs(&config)?;
    let verified = programs.into_iter().map(|it| object.program(it).map(drop));
    // One that is refused is told of with its devices, as long as there is another.
    match verified.reduce(|one, other| one.or(other)) {
        Some(Err(error)) => Err(error),
        _ => Ok(Awake { config, object }),
    }
}
