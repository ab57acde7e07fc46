//! The types and services of CSI 1.12, generated from `proto/csi.proto` when csictl is built.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

tonic::include_proto!("csi.v1");
