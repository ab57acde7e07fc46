//! The worst day, played: csictl is killed at its effects, its calls fail, and the next apply has to finish the work with nothing lost.

mod checker;
mod disks;
mod errors;
mod figures;
mod frozen;
#[cfg(feature = "serve")]
mod group;
#[cfg(feature = "serve")]
mod grown_once_mounted;
mod growth;
mod judged;
mod kill;
#[cfg(feature = "serve")]
mod life;
mod mkfs;
mod modify;
mod oracle;
mod pool_works;
mod pools;
mod power;
pub mod programs;
mod records;
#[cfg(feature = "serve")]
mod rpcs;
mod scenario;
#[cfg(feature = "serve")]
mod serving;
mod strace;
mod table;
mod tracer;
