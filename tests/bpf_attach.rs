//! The datapath in real network namespaces: attach, replace, steer, detach. Needs root.

mod bpf;

use bpf::netns::Namespace;
use dae::config::Attach;
use dae::kernel::{Datapath, HookKind};

#[test]
fn starts_and_leaves_nothing() {
    for (how, hook) in [
        (Attach::Auto, HookKind::Tcx),
        (Attach::Clsact, HookKind::Clsact),
    ] {
        let namespace = Namespace::with_veth("start");
        namespace.enter(|| {
            let before = namespace.trace_of_us();
            let config = bpf::config(how, &["lan0"]);
            let datapath = Datapath::start(&bpf::image(&[]), config.clone()).unwrap();
            let devices: Vec<_> = datapath.devices().collect();
            assert_eq!(devices.len(), 1);
            assert_eq!((devices[0].name.as_str(), devices[0].hook), ("lan0", hook));
            assert_ne!(namespace.trace_of_us(), before);
            let errors = datapath.stop();
            assert!(errors.is_empty(), "{errors:?}");
            assert_eq!(namespace.trace_of_us(), before);
        });
    }
}
