//! The files below `deploy/` and the Dockerfile: what can be checked of them without a cluster. Every csictl command line is
//! read by csictl's own parser, every embedded configuration by its own manifest reader; the rest is rendered, parsed and
//! checked by the tools of the system it is for (`scripts/tools-deploy`, systemd).

mod boot;
mod command_lines;
mod configurations;
mod container;
mod kubernetes;
mod nomad;
mod sidecars;
mod systemd;
mod tools;
mod versions;
