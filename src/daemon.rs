//! `*` The life of the daemon: make the parts, run them until a signal, undo everything.
//!
//! One thread runs everything here. The parts do not know each other; what one needs of
//! another it gets as a closure from [`Plumbing`].

mod beside;
mod change;
mod choices;
mod flows;
mod listeners;
pub mod load;
pub mod networks;
mod outcome;
mod parts;
mod pause;
mod plumbing;
mod refusal;
mod reload;
mod signals;
mod status;
mod uplink;

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::{FutureExt as _, future};
use nix::sys::signal::Signal;

use crate::control::http::Endpoint;
use crate::control::socket::{Control, Handler};
use crate::control::{log as log_lines, metrics};
use crate::error::{IoContext as _, Result};
use crate::kernel;
use crate::net::reactor::{self, Timer};
use crate::outbound::{check, ways::Ways};
pub use pause::TRIED_AGAIN;

use choices::Choices;
use listeners::Listeners;
use load::Loaded;
use parts::Parts;
use plumbing::Plumbing;
use reload::Reloader;
use signals::Signals;
use status::Status;

/// Names whose lease has ended are forgotten so often.
const NAMES_EVERY: Duration = Duration::from_secs(5);
/// So many of those periods make an epoch of the kernel's flow cache: 60 s.
const EPOCH_TICKS: u32 = 12;

/// Runs until TERM or INT; when the configuration says not to run, only cleans up.
///
/// # Errors
/// What kept it from starting; nothing is left behind then. What could not be undone at the
/// end is logged, and the last of it returned.
pub fn run(config: &Path, run_dir: &Path, state_dir: &Path) -> Result<()> {
    log_lines::init(log::LevelFilter::Info);
    let loaded = load::read(config);
    if let Ok(loaded) = &loaded {
        log_lines::init(loaded.config.main.log_level);
    }
    // Before the first thread: all threads inherit what is blocked.
    let signals = Signals::take()?;
    raise_descriptor_limit();
    fs::create_dir_all(run_dir).context(|| format!("create {}", run_dir.display()))?;
    // First of all, since it is also the proof that no other instance runs here.
    let control = match Control::open(run_dir) {
        Ok(control) => control,
        // What is wrong with the configuration is the better news.
        Err(error) => return Err(loaded.err().unwrap_or(error)),
    };
    // Also when this start comes to nothing: the dead instance cannot do it any more.
    for error in kernel::clean_dead(run_dir, opens(&loaded)) {
        log::warn!(event = "kernel.clean", reason:% = error; "");
    }
    let result = match loaded {
        Ok(loaded) if loaded.config.main.enabled => {
            let folders = (run_dir, state_dir);
            live(loaded, &control, config, folders, &signals)
        }
        Ok(_) => {
            log::warn!(event = "disabled"; "option enabled of section dae is 0");
            Ok(())
        }
        Err(error) => Err(error),
    };
    drop(control);
    // Not ours to remove when somebody put something else there.
    let _ = fs::remove_dir(run_dir);
    result
}

/// Whether a kill switch that a dead instance has left is to be opened: not by one that takes
/// over, and not by a file that cannot be read.
fn opens(loaded: &Result<Loaded>) -> bool {
    let Ok(loaded) = loaded else { return false };
    let main = &loaded.config.main;
    !(main.enabled && main.kill_switch && !main.interfaces.is_empty())
}

/// Undoes what a dead instance has left, a kill switch too.
///
/// # Errors
/// When an instance lives. What could not be undone is logged, and the last of it returned.
pub fn clean(run_dir: &Path) -> Result<()> {
    log_lines::init(log::LevelFilter::Warn);
    if !run_dir.exists() {
        return Ok(());
    }
    let control = Control::open(run_dir)?;
    let mut errors = kernel::clean_dead(run_dir, true);
    for error in &errors {
        log::error!(event = "kernel.clean", reason:% = error; "");
    }
    drop(control);
    // Not ours to remove when somebody put something else there.
    let _ = fs::remove_dir(run_dir);
    errors.pop().map_or(Ok(()), Err)
}

fn live(
    loaded: Loaded,
    control: &Control,
    file: &Path,
    (run_dir, state_dir): (&Path, &Path),
    signals: &Signals,
) -> Result<()> {
    let Loaded { config, image } = loaded;
    let mut listeners = Listeners::open(&config)?;
    let metrics = listeners.metrics.take();
    let plumbing = Plumbing::connect(config, image, &listeners, run_dir)?;
    let mut parts = Parts::make(&plumbing, listeners)?;
    if let Some(paused) = plumbing.paused() {
        // Last of what can fail: a start that does leaves a closed kill switch closed. Nobody is
        // served yet. Where the kernel refuses, that is told, the LAN is as without dae, local DNS
        // listeners work, and it is tried again.
        let _ = plumbing.resume(change::wake(paused));
    }
    let choices = Choices::restore(parts.ways.clone(), state_dir);
    log::info!(event = "start", version = env!("CARGO_PKG_VERSION"); "");

    let reloader = Rc::new(Reloader::new(file.into(), plumbing.clone(), &parts));
    let status = Status::new(&plumbing, &parts, &reloader, choices);
    let main = async {
        let control = async {
            let status = status.clone();
            let answer: Handler = Rc::new(move |request| Box::pin(status.clone().answer(request)));
            control.run(answer).await;
            Ok(())
        };
        let metrics = serve_metrics(metrics, status.clone());
        let changes = async {
            reloader.run().await;
            Ok(())
        };
        let ways = parts.ways.clone();
        let served = parts
            .run()
            .or(control)
            .or(metrics)
            .or(changes)
            .or(plumbing.follow_links())
            .or(uplink::follow(ways.clone()))
            .or(check_nodes(ways));
        until_signal(signals, &reloader)
            .or(tick(&plumbing, &reloader))
            .or(served)
            .await
    };
    let ended = reactor::block_on(main);
    let undone = plumbing.disconnect();
    log::info!(event = "stop"; "");
    ended.and(undone)
}

async fn serve_metrics(endpoint: Option<Endpoint>, status: Rc<Status>) -> Result<()> {
    let Some(endpoint) = endpoint else {
        return future::pending().await;
    };
    let page = Rc::new(move || metrics::render(&status.document()));
    endpoint.run(page).await;
    Ok(())
}

async fn until_signal(signals: &Signals, reloader: &Reloader) -> Result<()> {
    loop {
        match signals.next().await? {
            Signal::SIGHUP => reloader.hang_up(),
            _ => return Ok(()),
        }
    }
}

async fn check_nodes(ways: Rc<Ways>) -> Result<()> {
    check::run(ways).await;
    Ok(())
}

async fn tick(plumbing: &Plumbing, reloader: &Reloader) -> Result<()> {
    for count in (1..=EPOCH_TICKS).cycle() {
        Timer::after(NAMES_EVERY).await;
        plumbing.expire_names();
        reloader.retry();
        if count == EPOCH_TICKS {
            plumbing.advance_epoch();
        }
    }
    Ok(())
}

/// Every relayed connection takes two descriptors, a session of a SOCKS5 node two more; who starts
/// us may have left it at 1,024.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        log::warn!(event = "limits", reason:% = error; "");
    }
}
