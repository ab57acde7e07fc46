//! The server's bounds. Whatever is beyond one of them is answered at once and costs nothing that lasts, so that a flood slows the flood
//! and nobody else.

use std::time::Duration;

/// Connections at a time. An orchestrator's helpers hold one each. One more takes the place of whoever has been silent the longest; where
/// nobody is, it is closed unanswered.
pub const CONNECTIONS: usize = 256;
/// Calls at a time on one connection (HTTP/2's concurrent streams). A client's own library makes more of them wait.
pub const STREAMS: u32 = 256;
/// Calls at a time on all connections. More are UNAVAILABLE at once: to an orchestrator that means "later", while RESOURCE_EXHAUSTED of
/// a CreateVolume would mean "no room on this node, go elsewhere".
pub const CALLS: usize = 512;
/// Pieces of work that run or wait, those of callers that have given up included.
pub const WORKS: usize = 1024;
/// Bytes of a request. The specification's own limits (maps of 4 KiB, mount flags of 4 KiB in all) stay far below it.
pub const MESSAGE: usize = 1 << 20;
/// Bytes of a request's headers.
pub const HEADERS: u32 = 16 << 10;
/// How long a request may take to arrive: its sender holds one of [`CALLS`].
pub const ARRIVAL: Duration = Duration::from_secs(10);
/// How long a connection may take to begin: its opener holds one of [`CONNECTIONS`], and every client's library begins at once.
pub const BEGINNING: Duration = Duration::from_secs(5);
/// How long a connection has to be silent before it may have to leave for a newcomer where all places are taken.
pub const QUIET: Duration = Duration::from_secs(2);
/// The same for one that has called: its answer may still be on its way to a caller who reads slowly, and nobody but him knows when he has it.
pub const ANSWERED: Duration = Duration::from_secs(30);
/// How often a connection is asked whether its other end still lives.
pub const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long that other end may take to answer.
pub const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(20);
/// What the last answers have to reach their callers once all work is done.
pub const LAST_ANSWERS: Duration = Duration::from_millis(500);
