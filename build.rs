//! Generates the CSI types and services from `proto/csi.proto`, without protoc, when the `serve` feature is on.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/csi.proto");
    #[cfg(feature = "serve")]
    {
        let mut compiler = protox::Compiler::new(["proto"])?;
        compiler.include_imports(true).open_file("csi.proto")?;
        // The client reads and writes messages by their description, options included.
        let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
        std::fs::write(out.join("csi.descriptors"), compiler.encode_file_descriptor_set())?;
        // A list repeats the topology with each entry: copies of a sorted map are cheap.
        let configured = tonic_prost_build::configure().btree_map(".csi.v1.Topology");
        // And it repeats most entries of the list before: they are encoded once.
        let configured = configured.extern_path(".csi.v1.ListVolumesResponse.Entry", "crate::csi::entry::Entry");
        configured.compile_fds(compiler.file_descriptor_set())?;
    }
    Ok(())
}
