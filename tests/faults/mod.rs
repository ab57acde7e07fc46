//! The worst day, played: csictl is killed at its effects, and the next apply has to finish the work with nothing lost.

mod group;
mod kill;
mod oracle;
mod strace;
