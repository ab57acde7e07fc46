//! A running `csictl serve` in a place: its own process, its own socket, spoken to by a real gRPC client. Dropping it ends it with SIGTERM.

#![allow(dead_code)]

use std::future::Future;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use csictl::csi::proto::controller_client::ControllerClient;
use csictl::csi::proto::group_controller_client::GroupControllerClient;
use csictl::csi::proto::identity_client::IdentityClient;
use csictl::csi::proto::node_client::NodeClient;
use csictl::csi::proto::snapshot_metadata_client::SnapshotMetadataClient;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use super::place::Place;

/// How long a server may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server.
pub struct Serving {
    child: Child,
    /// Whether the child is a program that runs the server.
    wrapped: bool,
    socket: PathBuf,
    log: PathBuf,
    runtime: Runtime,
    channel: Channel,
    /// Whether its process has been waited for.
    gone: bool,
}

impl Serving {
    /// Starts one with these flags besides `--endpoint` and waits until it answers.
    pub fn start(place: &Place, flags: &[&str]) -> Self {
        Self::start_at(place, "csi/csi.sock", flags)
    }

    /// The same on another socket.
    pub fn start_at(place: &Place, socket: &str, flags: &[&str]) -> Self {
        let serving = Self::spawn(place, socket, flags, |command| command);
        serving.unwrap_or_else(|log| panic!("the server ended before it answered: {log}"))
    }

    /// The same run by another program, strace for instance; nothing when it is dead before it answers.
    pub fn start_under(place: &Place, wrap: impl FnOnce(Command) -> Command) -> Option<Self> {
        Self::start_flagged_under(place, &[], wrap)
    }

    /// The same with these flags.
    pub fn start_flagged_under(place: &Place, flags: &[&str], wrap: impl FnOnce(Command) -> Command) -> Option<Self> {
        Self::spawn(place, "csi/csi.sock", flags, wrap).ok()
    }

    fn spawn(
        place: &Place,
        socket: &str,
        flags: &[&str],
        wrap: impl FnOnce(Command) -> Command,
    ) -> Result<Self, String> {
        let (socket, log) = (place.join(socket), place.join("serve.log"));
        let endpoint = format!("unix://{}", socket.display());
        let stderr = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = place.csictl();
        command.args(["serve", "-v", "--endpoint", &endpoint]).args(flags);
        if !flags.contains(&"--node-id") {
            command.args(["--node-id", "node-1"]);
        }
        let program = command.get_program().to_owned();
        let mut command = wrap(command);
        let wrapped = command.get_program() != program;
        let child = command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let channel = {
            let _guard = runtime.enter();
            Endpoint::from_shared(endpoint).unwrap().connect_lazy()
        };
        let mut serving = Self { child, wrapped, socket, log, runtime, channel, gone: false };
        let begun = Instant::now();
        loop {
            let mut identity = serving.identity();
            if serving.call(identity.probe(csictl::csi::proto::ProbeRequest {})).is_ok() {
                return Ok(serving);
            }
            if let Some(ended) = serving.child.try_wait().unwrap() {
                return Err(format!("{ended}: {}", serving.log()));
            }
            assert!(begun.elapsed() < PATIENCE, "the server does not answer: {}", serving.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its socket.
    pub fn socket(&self) -> &PathBuf {
        &self.socket
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        let child = self.child.id();
        if !self.wrapped {
            return child;
        }
        let children = std::fs::read_to_string(format!("/proc/{child}/task/{child}/children")).unwrap_or_default();
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).unwrap_or(child)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Awaits a call.
    pub fn call<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
        self.runtime.block_on(call).map(Response::into_inner)
    }

    /// Awaits a call that has to succeed.
    pub fn ok<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> T {
        self.call(call).unwrap_or_else(|status| panic!("{:?}: {}", status.code(), status.message()))
    }

    /// Awaits a call that has to fail with this code, and answers its message, which is never empty.
    pub fn refused<T: std::fmt::Debug>(
        &self,
        code: Code,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> String {
        let status = self.call(call).expect_err("it has to fail");
        assert_eq!(status.code(), code, "{}", status.message());
        assert!(!status.message().is_empty());
        status.message().to_owned()
    }

    /// Awaits anything on the client's runtime, calls at once for instance.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn identity(&self) -> IdentityClient<Channel> {
        IdentityClient::new(self.channel.clone())
    }
    pub fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel.clone())
    }
    pub fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }
    pub fn group(&self) -> GroupControllerClient<Channel> {
        GroupControllerClient::new(self.channel.clone())
    }
    pub fn metadata(&self) -> SnapshotMetadataClient<Channel> {
        SnapshotMetadataClient::new(self.channel.clone())
    }

    /// Ends it with SIGTERM and answers its exit code.
    pub fn end(mut self) -> Option<i32> {
        self.terminate()
    }

    /// Kills it, as a crash would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.gone = true;
    }

    /// Notes that somebody else, a tracer, has seen its end.
    pub fn seen_to_end(mut self) {
        self.gone = true;
    }

    fn terminate(&mut self) -> Option<i32> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return status.code();
        }
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap());
        let _ = kill(pid, Signal::SIGTERM);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if !self.gone {
            self.terminate();
        }
    }
}
