//! Identity: who the plugin is and what it offers.

use csictl::csi::proto::{GetPluginInfoRequest, ProbeRequest};

use crate::support::Place;
use crate::support::serving::Serving;

#[test]
fn a_server_says_who_it_is_and_ends_cleanly() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let info = serving.ok(serving.identity().get_plugin_info(GetPluginInfoRequest {}));
    assert_eq!((info.name.as_str(), info.vendor_version.as_str()), ("csi.csictl.io", env!("CARGO_PKG_VERSION")));
    assert_eq!(serving.ok(serving.identity().probe(ProbeRequest {})).ready, Some(true));
    let socket = serving.socket().clone();
    assert_eq!(serving.end(), Some(0));
    assert!(!socket.exists(), "the socket goes with its server");
}
