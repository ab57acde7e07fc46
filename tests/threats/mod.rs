//! The threats of `docs/safety.md`, a file each, played against the built csictl or its driver on the real machine.

mod aimed_helpers;
mod data_loss;
mod disk_marks;
mod errors_panic;
mod every_field;
mod foreign_directory_group;
mod foreign_mounts_and_loops;
mod helpers_see_little;
mod hostile_images;
mod hostile_records;
mod ids_and_names;
mod machine;
mod manifest_bombs;
mod mkfs_options;
mod mount_options;
mod namespace;
#[cfg(feature = "serve")]
mod over_grpc;
#[cfg(feature = "serve")]
mod own_word;
mod recursive_delete;
mod safety_document;
mod secrets;
mod sub_paths;
mod symlink_races;
#[cfg(feature = "serve")]
mod thawed_by_others;
mod which_disk;
