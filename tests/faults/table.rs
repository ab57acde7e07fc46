//! The fault table: what may befall csictl, and the tests that make it happen. A name that no test bears fails here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A fault and the tests of it.
type Row = (&'static str, &'static [&'static str]);

const ROWS: [Row; 34] = [
    (
        "SIGKILL at every call of apply, destroy, expand, modify, snapshot, delete, clone, restore, replacement",
        &[
            "apply_killed_anywhere_is_finished_by_the_next_apply",
            "destroy_killed_anywhere_loses_nothing",
            "expand_killed_anywhere_is_finished_by_the_next_apply",
            "modify_killed_anywhere_is_finished_by_the_next_apply",
            "a_change_killed_or_failing_at_any_effect_is_unfinished_and_the_next_one_ends_it",
            "snapshot_killed_anywhere_leaves_the_volume_writable",
            "delete_killed_anywhere_loses_only_what_was_named",
            "clone_killed_anywhere_is_whole_after_the_next_apply",
            "restore_killed_anywhere_is_whole_after_the_next_apply",
            "replacement_killed_anywhere_loses_only_what_was_to_be_replaced",
            "an_apply_killed_anywhere_is_ended_by_the_next",
            "a_disk_formatted_in_stage_survives_a_kill_of_its_mkfs",
        ],
    ),
    (
        "SIGKILL of serve at every call of each gRPC verb",
        &[
            "a_server_killed_in_any_call_is_repeated_into_order_ext4",
            "a_server_killed_in_any_call_is_repeated_into_order_xfs",
            "a_server_killed_in_any_call_is_repeated_into_order_btrfs",
            "a_server_killed_in_any_call_is_repeated_into_order_block",
            "a_server_killed_while_it_copies_a_volume_or_a_snapshot_is_repeated_into_order",
            "killed_at_any_moment_the_next_call_finishes_it",
            "a_server_killed_in_the_middle_leaves_nobody_frozen_and_no_half_group",
            "a_group_snapshot_killed_anywhere_is_whole_or_none_and_leaves_nobody_frozen",
        ],
    ),
    ("SIGKILL at random with 8 workers", &["killed_at_random_moments_with_eight_workers_the_next_apply_finishes"]),
    (
        "growing ext4 offline cut short",
        &[
            "a_program_that_grows_ext4_killed_or_failing_at_any_call_loses_nothing",
            "a_disk_that_has_grown_is_grown_into_whatever_is_killed",
            "up_to_the_log_nothing_of_the_volume_has_changed_and_from_there_any_part_of_it_may_have",
        ],
    ),
    (
        "mkfs killed alone",
        &[
            "mkfs_killed_alone_at_any_call_is_made_again",
            "what_a_killed_mkfs_leaves_is_made_again_under_its_mark_and_refused_without",
        ],
    ),
    ("parent killed, mkfs lives on", &["a_mkfs_that_outlives_its_killed_parent_is_waited_for"]),
    (
        "each errno at each call",
        &[
            "an_error_at_any_call_of_apply_is_told_and_the_next_apply_finishes",
            "an_error_at_any_call_of_destroy_is_told_and_loses_nothing",
            "an_error_at_any_call_of_expand_and_snapshot_is_told_and_loses_nothing",
            "an_error_at_any_call_of_a_clone_restore_or_replacement_is_told_and_loses_nothing",
            "an_error_at_any_call_of_modify_is_told_and_the_next_apply_finishes",
            "an_error_anywhere_is_told_and_the_next_apply_ends_the_work",
        ],
    ),
    (
        "read error while probing a formatted disk",
        &[
            "a_read_error_while_probing_a_formatted_disk_never_means_mkfs",
            "no_image_ever_looks_blank_because_something_could_not_be_read_or_is_missing",
        ],
    ),
    (
        "mkfs that lies",
        &[
            "a_mkfs_that_lies_is_caught_by_the_look_at_what_it_made",
            "a_btrfs_whose_copy_of_the_superblock_is_missing_does_not_pass_for_made",
        ],
    ),
    (
        "state directory full",
        &[
            "a_full_state_directory_keeps_its_records_and_lets_everything_come_down",
            "a_full_file_system_keeps_the_old_record",
            "a_full_state_directory_keeps_nobody_from_taking_down",
        ],
    ),
    (
        "state directory read-only",
        &[
            "a_read_only_state_directory_lets_everything_come_down",
            "a_read_only_state_directory_keeps_nobody_from_taking_down",
        ],
    ),
    ("pool full", &["a_full_pool_is_told_leaves_nothing_half_made_and_lets_everything_come_down"]),
    ("pool read-only", &["a_read_only_pool_is_told_and_nothing_is_made_or_lost"]),
    (
        "power cut",
        &[
            "after_a_power_cut_the_last_acknowledged_state_or_a_newer_one_is_there",
            "a_power_cut_in_a_snapshot_growth_replacement_or_deletion_leaves_what_was_synced",
            "a_power_cut_leaves_what_was_acknowledged",
        ],
    ),
    (
        "device of a pool, volume or state directory dies",
        &[
            "a_state_directory_whose_device_dies_is_an_error_and_nothing_is_made_or_lost",
            "a_pool_or_a_volume_whose_device_dies_is_an_error_and_comes_back",
            "a_raw_volume_whose_pool_dies_is_taken_down_and_comes_back",
            "a_loop_device_on_somebody_elses_dead_disk_blocks_nobody",
            "a_condition_tells_what_is_wrong",
        ],
    ),
    (
        "image deleted, replaced, cut under its loop",
        &[
            "an_image_deleted_replaced_or_cut_under_its_loop_is_an_error_and_no_mkfs",
            "another_file_under_the_name_is_refused",
        ],
    ),
    (
        "reboot",
        &[
            "after_a_reboot_one_apply_brings_everything_back",
            "after_a_reboot_everything_comes_back",
            "after_a_reboot_a_stage_attaches_again_what_was_lost",
            "after_a_reboot_the_unpublish_still_deletes_it",
        ],
    ),
    (
        "somebody else looks at a device while it is detached",
        &[
            "a_device_that_somebody_looks_at_for_a_moment_is_detached_all_the_same",
            "a_raw_volumes_loop_device_that_is_about_to_go_is_attached_again",
            "a_volume_is_not_grown_through_a_device_that_is_about_to_go",
        ],
    ),
    ("8 processes on one volume", &["eight_processes_on_one_volume_make_one_mount_and_one_loop"]),
    ("command line against server", &["everything_at_once_loses_nothing"]),
    (
        "caller gone or late in mid-mkfs",
        &[
            "a_caller_gone_or_late_in_mid_mkfs_finds_the_work_done_when_it_asks_again",
            "a_caller_that_goes_away_leaves_nothing_running",
        ],
    ),
    ("SIGTERM of serve", &["a_server_told_to_end_in_mid_mkfs_finishes_the_call_and_keeps_its_mounts"]),
    (
        "corrupt, empty, half record",
        &[
            "a_damaged_record_of_any_kind_keeps_nothing_up_and_loses_nothing",
            "what_is_no_file_is_no_record_and_is_set_aside",
            "every_flipped_bit_and_every_cut_is_noticed",
            "the_last_whole_line_counts_and_a_torn_one_leaves_the_one_before",
        ],
    ),
    (
        "record of a newer version",
        &[
            "a_record_of_a_newer_version_stays_and_its_volume_comes_down",
            "a_newer_record_is_refused_untouched_and_taking_down_works",
        ],
    ),
    (
        "state directory lost",
        &[
            "a_lost_state_directory_is_made_anew_from_the_images",
            "with_the_state_directory_lost_images_are_adopted_and_none_is_overwritten",
        ],
    ),
    (
        "frozen by somebody else",
        &[
            "a_volume_frozen_by_another_is_seen_and_every_command_gets_out",
            "a_frozen_volume_comes_down_though_somebody_waits_for_a_write_to_it",
        ],
    ),
    (
        "something else at a name of csictl's own",
        &["what_is_no_file_at_a_name_of_csictls_own_is_named_and_hangs_nobody"],
    ),
    (
        "a mount over a publish, an image moved or grown by hand, a stage moved away",
        &[
            "a_publish_under_a_later_mount_is_drift_and_says_what_hides_it",
            "an_image_that_was_moved_while_it_is_up_is_lost_to_nobody_and_comes_down",
            "an_image_grown_by_hand_meets_a_smaller_growth_without_a_pause_and_for_good",
            "a_stage_that_was_moved_away_is_named",
        ],
    ),
    (
        "killed while frozen",
        &[
            "it_thaws_when_its_process_is_killed",
            "what_somebody_left_frozen_is_thawed",
            "what_a_snapshot_killed_with_its_keeper_left_frozen_is_thawed_by_apply_gc_and_serve",
            "what_was_frozen_when_all_was_killed_and_its_namespace_went_is_brought_back_by_whatever_runs_next",
        ],
    ),
    (
        "fstrim on a full volume",
        &[
            "trim_and_zeroing_give_up_nothing_of_a_full_image_and_all_of_a_sparse_one",
            "fstrim_takes_nothing_of_a_full_volume_and_gives_a_sparse_ones_space_back",
        ],
    ),
    (
        "private mount propagation",
        &[
            "propagation_is_what_was_asked_for_whatever_the_parent_is",
            "a_target_whose_mount_nobody_outside_sees_is_warned_of",
        ],
    ),
    (
        "mounted, and not grown yet",
        &["what_was_mounted_and_not_grown_is_grown_by_the_next_apply", "over_grpc_a_stage_that_is_repeated_grows_it"],
    ),
    ("memory limit", &["too_little_memory_is_an_error_without_harm"]),
    (
        "more than is meant to be borne",
        &[
            "more_calls_in_flight_than_are_let_in_cost_bounded_memory_and_lose_nothing",
            "volumes_made_and_deleted_all_at_once_are_all_made_and_all_gone",
            "many_volumes_go_up_and_down_and_many_records_are_listed",
        ],
    ),
];

fn tests_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let tests = text.split("#[test]\n").skip(1).filter_map(|rest| rest.split_once("fn ")?.1.split_once('('));
            found.extend(tests.map(|(name, _)| name.to_owned()));
        }
    }
}

/// The document that people read says no less than this table, and no more.
#[test]
fn the_document_has_every_row_with_its_tests() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/safety.md")).unwrap();
    let table = text.split("## Faults").nth(1).unwrap();
    let lines: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    for (fault, tests) in ROWS {
        let line = lines.iter().find(|line| line.starts_with(&format!("| {fault} |")));
        let line = line.unwrap_or_else(|| panic!("docs/safety.md has no row '{fault}'"));
        for test in tests {
            assert!(line.contains(&format!("::{test}`")), "docs/safety.md, {fault}: {test} is not named");
        }
    }
    assert_eq!(lines.len(), ROWS.len(), "docs/safety.md has faults that are not tested for");
}

#[test]
fn every_fault_has_tests_that_exist() {
    let mut found = BTreeSet::new();
    for folder in ["tests", "src"] {
        tests_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    for (fault, tests) in ROWS {
        assert!(!tests.is_empty(), "{fault}");
        for test in tests {
            assert!(found.contains(*test), "{fault}: there is no test '{test}'");
        }
    }
}
