//! Tests on the real machine: loop devices, mounts, the real tools. They need root and say so when they lack it.

mod conformance;
mod filesystem;
mod format;
mod freezing;
mod growth;
mod helpers;
mod images;
mod loops;
mod lost;
mod meddled;
mod mounts;
mod options;
mod other_path;
mod passed_on;
mod probe;
mod records;
mod rig;
mod state;
mod takedown;
mod trim;
mod unchangeable;
mod verbs;
