//! The release server in a folder, with as many clients as there are callers.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use csictl::csi::proto::controller_client::ControllerClient;
use csictl::csi::proto::identity_client::IdentityClient;
use csictl::csi::proto::node_client::NodeClient;
use csictl::csi::proto::{ListVolumesRequest, ProbeRequest};
use nix::mount::MsFlags;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

/// One client, and the server if it is the first.
pub struct Server {
    child: Option<Child>,
    pub folder: PathBuf,
    pub runtime: Runtime,
    channel: Channel,
}

impl Server {
    pub fn start(folder: &Path) -> Self {
        // As below /run on a machine.
        let run = folder.join("run");
        std::fs::create_dir_all(&run).unwrap();
        nix::mount::mount(Some("tmpfs"), &run, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_csictl"))
            .args(["serve", "--node-id", "bench", "--endpoint"])
            .arg(endpoint(folder))
            .env("CSICTL_STATE_DIR", folder.join("state"))
            .env("CSICTL_RUN_DIR", &run)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self::client(folder);
        server.child = Some(child);
        let begun = Instant::now();
        while server.runtime.block_on(server.identity().probe(ProbeRequest {})).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    fn client(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let channel = {
            let _inside = runtime.enter();
            Endpoint::from_shared(endpoint(folder)).unwrap().connect_lazy()
        };
        Self { child: None, folder: folder.to_owned(), runtime, channel }
    }

    /// A client with a connection of its own.
    pub fn another(&self) -> Self {
        Self::client(&self.folder)
    }

    fn identity(&self) -> IdentityClient<Channel> {
        IdentityClient::new(self.channel.clone())
    }

    pub fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    pub fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }

    /// How many milliseconds each call of this RPC took by the server's own log.
    pub fn logged(&self, rpc: &str) -> Vec<f64> {
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap();
        let calls = log.lines().filter(|line| line.contains(&format!("rpc=\"{rpc}\"")));
        calls.map(|line| line.rsplit_once("millis=").unwrap().1.trim().parse().unwrap()).collect()
    }

    /// How many volumes there are.
    pub fn list(&self) -> usize {
        let request = ListVolumesRequest::default();
        self.runtime.block_on(self.controller().list_volumes(request)).unwrap().into_inner().entries.len()
    }
}

fn endpoint(folder: &Path) -> String {
    format!("unix://{}", folder.join("csi.sock").display())
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let _ = child.wait();
        }
    }
}
