//! Generates the CSI types and services from `proto/csi.proto`, without protoc, when the `serve` feature is on.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/csi.proto");
    #[cfg(feature = "serve")]
    {
        let descriptors = protox::compile(["csi.proto"], ["proto"])?;
        tonic_prost_build::configure().compile_fds(descriptors)?;
    }
    Ok(())
}
