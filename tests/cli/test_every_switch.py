"""Every switch of every mode has a test of what it does, not only of how it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from gproc.cli.switches import SWITCHES

TESTS: Final = Path(__file__).parents[1]

SWITCHES_OF_M_AND_S: Final = "system/test_switches.py"
START: Final = "start/test_switches.py"
DETACHED: Final = "system/test_detached_jobs.py"
TERMINALS: Final = "system/test_leaving_terminals.py"
TASKS: Final = "system/test_detached_tasks.py"
MAP: Final = "system/test_map.py"
DEBUG: Final = "reports/test_debug_says_what_happens.py"

BEHAVIOUR: Final = {
    ("local_bin", "e"): "system/test_program.py::test_with_localbin_the_nodes_own_program_runs",
    ("private", "s"): "system/test_program.py::test_a_node_without_private_views_runs_plain_and_says_so",
    ("socket", "top"): "top/test_top.py::test_it_needs_a_terminal_and_its_master",
    ("debug", "top"): "top/test_top.py::test_it_needs_a_terminal_and_its_master",
    ("socket", "web"): "web/test_site.py::test_a_master_that_is_gone_is_said_and_found_again",
    ("debug", "web"): "web/test_site.py::test_debug_says_where_it_listens_and_whom_it_asks",
    ("listen", "web"): "web/test_site.py::test_a_unix_socket_is_its_owners_alone_and_needs_no_token",
    ("token_file", "web"): "web/test_site.py::test_a_token_in_a_file_stays_and_is_the_users_secret",
    ("control", "web"): "web/test_site.py::test_jobs_are_ended_only_if_asked_for_and_only_from_the_page",
    ("venv", "e"): "bundle/test_venv.py::test_a_virtual_environment_is_active_on_a_node",
    ("venv", "bundle"): "bundle/test_venv.py::test_an_environment_goes_along_as_a_whole_with_its_python",
    ("trace", "e"): "fidelity/programs/test_programs.py::test_a_program_does_there_what_it_does_here",
    ("trace", "bundle"): "bundle/test_traced_runs.py::test_files_whose_names_a_program_makes_up_go_along",
    ("with_package", "e"): "fidelity/programs/test_programs.py::test_a_program_does_there_what_it_does_here",
    ("with_package", "bundle"): "bundle/test_packages.py::test_a_programs_package_goes_along_and_its_documentation_not",
    ("no_words", "e"): "fidelity/test_places.py::test_without_words_nothing_but_the_program_goes_along",
    **{
        ("image", mode): "bundle/test_images.py::"
        "test_a_program_of_an_image_runs_with_the_images_libraries_and_files"
        for mode in ("e", "map")
    },
    ("image", "bundle"): "bundle/test_images.py::test_of_a_changed_image_only_changed_chunks_are_new",
    ("collect", "e"): "fidelity/test_places.py::test_files_that_a_job_wrote_come_back_before_they_are_gone",
    ("cwd", "e"): "fidelity/test_places.py::test_a_directory_of_the_node_is_written_for_real",
    ("shell", "e"): "reports/test_a_line_of_shell.py::test_with_shell_the_line_runs_on_the_node",
    ("files", "e"): "system/test_program.py::test_extra_files_and_trees_are_on_the_node",
    ("files", "bundle"): "bundle/test_bundle_command.py::test_files_that_a_switch_names_go_along",
    ("bin_root", "e"): "system/test_program.py::test_with_binroot_a_program_finds_its_bundle_where_the_command_says",
    ("bin_root", "s"): "fidelity/test_nodes.py::test_a_mount_point_and_a_missing_directory_can_be_binroot",
    ("root", "e"): "fidelity/test_glibc.py::test_a_program_of_another_release_runs_with_its_libraries",
    ("library_path", "e"): "fidelity/test_surroundings.py::test_a_library_in_a_directory_of_L_is_found",
    ("cmd_port", "s"): "system/test_tree.py::test_a_taken_port_that_was_named_by_a_switch_is_an_error",
    ("id", "s"): "system/test_tree.py::test_a_taken_id_is_refused_with_the_name_of_its_node",
    ("prune_bytes", "store"): "cli/test_store.py::test_pruning_removes_the_least_recently_used_first",
    ("store_bytes", "s"): "cli/test_store.py::test_a_bundle_beyond_the_size_of_the_store_runs_and_is_not_kept",
    ("exclude", "e"): "system/test_tree.py::test_excluded_nodes_run_nothing_and_the_others_do",
    ("exclude", "cp"): "copy/test_copies.py::test_excluded_nodes_get_no_copy",
    ("exclude", "get"): "copy/test_copies.py::test_excluded_nodes_are_left_out",
    ("fanout", "e"): "system/test_some_nodes_at_a_time.py::"
    "test_the_next_node_begins_as_one_ends_and_all_of_it_is_one_job",
    ("max_fail", "e"): "system/test_some_nodes_at_a_time.py::"
    "test_after_so_many_failures_no_more_begin_and_those_that_run_go_on",
    ("retry_failed", "e"): "system/test_where_the_last_job_failed.py::"
    "test_the_last_job_runs_again_where_it_failed",
    ("label", "e"): "system/test_output.py::test_a_label_is_before_each_line",
    ("require", "e"): "system/test_absent_nodes.py::test_a_job_that_requires_all_nodes_does_not_begin_without_one",
    ("events", "i"): "system/test_absent_nodes.py::test_the_last_faults_are_a_line_each",
    ("watch", "i"): "system/test_absent_nodes.py::test_the_tree_can_be_watched",
    ("gather", "e"): "system/test_many_outputs.py::test_nodes_with_the_same_output_are_shown_once_with_their_number",
    ("gather_all", "e"): "system/test_many_outputs.py::test_standard_error_is_gathered_too_with_a_capital_b",
    ("live", "e"): "system/test_many_outputs.py::test_a_group_is_shown_while_others_run_if_none_of_them_can_join_it",
    ("diff", "e"): "system/test_many_outputs.py::test_the_others_are_shown_as_differences_from_the_largest_group",
    ("sort", "e"): "system/test_many_outputs.py::test_sorted_output_is_whole_and_in_the_order_of_the_nodes",
    ("outdir", "e"): "system/test_many_outputs.py::test_each_node_has_files_of_its_own_and_old_content_is_gone",
    ("json", "e"): "system/test_many_outputs.py::test_programs_get_a_line_of_json_for_each_event",
    ("no_stdin", "e"): "system/test_output.py::test_with_n_the_client_does_not_read_stdin",
    ("tty", "e"): "fidelity/test_tty.py::test_a_shell_on_a_node_is_a_shell",
    ("timeout_s", "e"): "system/test_ending.py::test_time_out_ends_the_job_everywhere_with_124",
    ("timeout_s", "get"): "copy/test_copies.py::test_a_time_limit_ends_what_takes_longer",
    ("env", "e"): "system/test_program.py::test_a_clean_environment_has_only_what_was_named",
    ("clean_env", "e"): "system/test_program.py::test_a_clean_environment_has_only_what_was_named",
    ("json_progress", "e"): "cli/test_progress.py::test_programs_get_a_line_of_json_each_second_and_at_the_end",
    ("max_procs", "e"): "fidelity/test_surroundings.py::test_a_fork_bomb_is_bounded",
    ("mem_bytes", "e"): "fidelity/test_surroundings.py::test_memory_is_bounded",
    ("cpus", "e"): "fidelity/test_surroundings.py::test_cpus_and_niceness_are_as_the_switches_say",
    ("nice", "e"): "fidelity/test_surroundings.py::test_cpus_and_niceness_are_as_the_switches_say",
    ("json", "i"): "system/test_tree.py::test_the_tree_is_shown_as_json_for_programs",
    ("json", "ps"): "system/test_job_records.py::test_ps_shows_what_runs_and_with_a_what_has_ended",
    ("all", "ps"): "system/test_job_records.py::test_ps_shows_what_runs_and_with_a_what_has_ended",
    ("state", "m"): "system/test_job_records.py::test_records_are_in_the_directory_that_the_master_was_told",
    ("json", "bundle"): "bundle/test_bundle_command.py::test_json_has_the_same_content_for_programs",
    ("json", "store"): "cli/test_store.py::test_programs_get_json",
    ("store", "store"): "cli/test_store.py::test_the_table_shows_each_bundle_and_the_total",
    ("root", "runtime"): "runtime/test_foreign.py::test_a_runtime_of_a_foreign_root_runs",
    ("json", "runtime"): "runtime/test_runtime.py::test_programs_get_json",
    ("tar", "runtime"): "runtime/test_runtime.py::test_it_is_shown_and_written",
    ("json", "config"): "cli/test_settings.py::test_gproc_config_shows_each_default_and_where_it_comes_from",
    ("out", "runtime"): "start/test_copytonodes.py::test_a_node_without_python_runs_gproc_and_has_its_own_key",
    ("tar", "bundle"): "bundle/test_bundle_command.py::test_the_tar_file_is_the_bundle_and_the_same_each_time",
    ("bin_root", "m"): f"{SWITCHES_OF_M_AND_S}::test_binroot_of_the_master_changes_nothing_on_nodes_as_in_the_original",
    ("socket", "m"): f"{SWITCHES_OF_M_AND_S}::test_the_master_listens_at_the_socket_that_it_names",
    **{
        ("socket", mode): f"{SWITCHES_OF_M_AND_S}::test_each_command_talks_to_the_master_whose_socket_it_names"
        for mode in ("e", "cp", "get", "i", "ps", "logs", "attach", "wait", "kill", "stacks", "rm")
    },
    **{
        ("locale", mode): f"{SWITCHES_OF_M_AND_S}::test_a_locale_says_where_the_master_listens_and_where_a_slave_stands"
        for mode in ("m", "s")
    },
    **{
        ("address", mode): f"{SWITCHES_OF_M_AND_S}::test_an_address_overrules_the_locale_for_master_and_slave"
        for mode in ("m", "s")
    },
    **{
        ("store", mode): f"{SWITCHES_OF_M_AND_S}::"
        "test_master_and_slave_keep_what_they_receive_in_the_stores_that_they_name"
        for mode in ("m", "s")
    },
    **{
        ("link_timeout_s", mode): f"{SWITCHES_OF_M_AND_S}::"
        "test_a_link_timeout_says_when_the_end_that_has_it_gives_a_cut_link_up"
        for mode in ("m", "s")
    },
    ("orphan_timeout_s", "m"): "system/test_parents_die.py::"
    "test_what_ran_on_the_dead_node_itself_is_lost_with_its_lease_and_its_user_is_told_until_when",
    ("exit_after_s", "s"): "system/test_master_returns.py::"
    "test_a_slave_that_is_told_so_looks_for_the_master_for_a_while_and_not_for_ever",
    ("cmd_port", "m"): f"{SWITCHES_OF_M_AND_S}::test_children_join_at_the_port_that_the_master_was_told",
    (
        "store_bytes",
        "m",
    ): f"{SWITCHES_OF_M_AND_S}::test_a_bundle_beyond_the_size_of_the_masters_store_is_sent_and_not_kept",
    ("parent", "s"): f"{SWITCHES_OF_M_AND_S}::test_a_slave_is_below_the_parent_that_it_names",
    ("root", "bundle"): "bundle/test_bundle_command.py::test_a_program_below_another_root_is_packed_from_there",
    ("library_path", "bundle"): "bundle/test_bundle_command.py::"
    "test_a_library_in_a_directory_of_l_is_packed_and_not_the_systems",
    ("timeout_s", "cp"): "copy/test_copies.py::test_a_time_limit_ends_a_copy_to_nodes_that_takes_longer",
    ("json_progress", "cp"): "cli/test_progress.py::test_a_copy_tells_programs_the_same_in_lines_of_json",
    **{
        (field, "cert"): f"{SWITCHES_OF_M_AND_S}::"
        "test_certificates_go_where_out_says_and_an_address_of_cert_is_one_to_dial_by"
        for field in ("out", "addresses")
    },
    **{
        ("debug", mode): f"{DEBUG}::test_master_and_slave_log_what_they_were_told_and_each_step_of_a_job"
        for mode in ("m", "s")
    },
    ("debug", "e"): f"{DEBUG}::test_e_says_what_was_packed_what_the_master_answered_and_how_each_node_ended",
    **{
        ("debug", mode): f"{DEBUG}::test_cp_and_get_say_what_they_read_and_how_each_node_ended"
        for mode in ("cp", "get")
    },
    **{
        (field, "map"): f"{MAP}::test_switches_about_the_program_mean_what_they_mean_for_one_job"
        for field in (
            "exclude", "require", "files", "env", "clean_env", "nice", "cpus", "max_procs", "mem_bytes", "cwd",
            "bin_root",
        )
    },
    **{
        (field, "map"): f"{MAP}::test_switches_about_what_is_sent_pack_what_they_do_for_one_job"
        for field in ("root", "library_path", "no_words", "trace", "with_package", "debug", "socket")
    },
    ("venv", "map"): "bundle/test_venv.py::test_it_is_active_for_each_task_of_a_list",
    ("local_bin", "map"): f"{MAP}::test_a_program_that_no_node_has_is_said_once_and_ends_it",
    ("shell", "map"): f"{MAP}::test_with_shell_each_value_is_one_word_of_the_line",
    ("per_node", "map"): f"{MAP}::test_so_many_tasks_run_on_a_node_at_a_time_and_a_free_node_takes_the_next",
    ("arg_file", "map"): f"{MAP}::test_the_list_can_be_a_file_or_words",
    ("null", "map"): f"{MAP}::test_the_list_can_be_a_file_or_words",
    ("keep_order", "map"): f"{MAP}::test_each_line_runs_once_and_output_is_in_the_order_of_the_list",
    ("ungroup", "map"): f"{MAP}::test_ungrouped_output_comes_while_its_task_runs",
    ("tag", "map"): f"{MAP}::test_each_tasks_output_is_one_block_and_tags_and_mixing_are_as_asked",
    ("task_timeout_s", "map"): f"{MAP}::test_a_task_that_takes_too_long_is_ended_and_the_others_go_on",
    ("max_fail", "map"): f"{MAP}::test_after_so_many_failures_no_more_tasks_begin",
    ("joblog", "map"): f"{MAP}::test_the_joblog_has_a_line_for_each_task_as_gnu_parallel_writes_it",
    ("detach", "e"): f"{DETACHED}::test_a_detached_job_goes_on_and_every_line_and_status_can_be_had_later",
    ("detach", "map"): f"{TASKS}::test_a_detached_list_is_run_once_and_its_output_and_outcomes_can_be_had_by_task",
    ("name", "map"): f"{TASKS}::test_a_detached_list_is_run_once_and_its_output_and_outcomes_can_be_had_by_task",
    ("keep_order", "logs"): f"{TASKS}::test_a_detached_list_is_run_once_and_its_output_and_outcomes_can_be_had_by_task",
    ("tag", "logs"): f"{TASKS}::test_a_detached_list_is_run_once_and_its_output_and_outcomes_can_be_had_by_task",
    ("joblog", "logs"): f"{TASKS}::test_a_detached_list_is_run_once_and_its_output_and_outcomes_can_be_had_by_task",
    ("name", "e"): f"{DETACHED}::test_a_detached_job_goes_on_and_every_line_and_status_can_be_had_later",
    ("label", "logs"): f"{DETACHED}::test_a_detached_job_goes_on_and_every_line_and_status_can_be_had_later",
    ("times", "logs"): f"{DETACHED}::test_a_detached_job_goes_on_and_every_line_and_status_can_be_had_later",
    ("spool", "e"): f"{DETACHED}::test_a_job_whose_output_was_not_kept_says_how_it_would_be",
    ("follow", "logs"): f"{DETACHED}::test_logs_can_follow_a_job_until_it_ends",
    ("on_disconnect", "map"): f"{TASKS}::"
    "test_an_attached_list_goes_on_if_its_client_dies_and_shows_all_if_it_does_not",
    ("on_disconnect", "e"): f"{DETACHED}::"
    "test_a_job_that_survives_its_client_loses_no_line_when_the_client_is_killed",
    ("no_stdin", "attach"): f"{TERMINALS}::test_a_second_terminal_sees_the_job_of_the_first_and_can_end_it",
    ("label", "attach"): f"{TERMINALS}::test_a_second_terminal_sees_the_job_of_the_first_and_can_end_it",
    ("signal", "kill"): f"{DETACHED}::test_a_job_gets_a_signal_on_some_of_its_nodes_or_on_all",
    **{
        ("debug", mode): f"{DEBUG}::test_the_commands_about_jobs_say_what_they_ask"
        for mode in ("logs", "attach", "wait", "kill", "stacks", "rm")
    },
    ("json", "stacks"): "system/test_where_jobs_are.py::test_the_one_node_that_is_elsewhere_is_named_first",
    ("debugger", "stacks"): "system/test_where_jobs_are.py::"
    "test_gdb_shows_the_functions_of_a_program_with_the_rights_of_its_user",
    ("debug", "ps"): f"{DEBUG}::test_ps_says_who_answered",
    ("debug", "i"): f"{DEBUG}::test_i_says_who_answered",
    ("debug", "bundle"): f"{DEBUG}::test_bundle_says_what_it_packs_and_writes",
    ("debug", "cert"): f"{DEBUG}::test_cert_says_whose_keys_it_makes",
    **{
        ("log_json", mode): f"{SWITCHES_OF_M_AND_S}::test_a_log_in_json_is_one_value_a_line_whatever_others_say"
        for mode in ("m", "s")
    },
    ("out", "key"): "cli/test_key.py::test_the_keys_of_one_host_go_where_o_says",
    ("addresses", "key"): "cli/test_key.py::test_the_keys_of_one_host_go_where_o_says",
    ("json", "key"): "cli/test_key.py::test_what_was_issued_and_revoked_is_listed",
    ("passphrase_file", "key"): "cli/test_key.py::test_a_backup_brings_a_lost_front_end_back",
    ("debug", "key"): "cli/test_key.py::test_debug_says_what_is_written",
    ("debug", "runtime"): f"{DEBUG}::test_runtime_says_what_it_holds_and_where_it_is_written",
    **{
        (field, mode): f"{START}::test_what_a_slave_and_its_master_are_told_holds"
        for field in ("bin_root", "cmd_port", "address", "socket")
        for mode in ("start", "restart")
    },
    ("socket", "stop"): f"{START}::test_what_a_slave_and_its_master_are_told_holds",
    **{
        (field, "start"): f"{START}::test_the_nodes_of_a_locale_are_started_level_by_level"
        for field in ("locale", "low", "high")
    },
    ("hosts", "start"): "start/test_start.py::test_one_command_makes_a_tree_and_the_next_runs_a_program_on_it",
    ("failed", "start"): "start/test_start.py::test_some_nodes_are_stopped_and_started_again",
    ("fanout", "start"): "start/test_start.py::test_hosts_beyond_the_fanout_are_children_of_the_first_and_places_stay",
    ("foreground", "start"): f"{START}::test_a_master_in_the_foreground_ends_the_tree_at_ctrl_c",
    **{
        (field, mode): f"{START}::test_{what}"
        for field, what in {
            "parallel": "so_many_logins_at_a_time_and_each_as_long_as_it_may_take",
            "connect_timeout_s": "so_many_logins_at_a_time_and_each_as_long_as_it_may_take",
            "accept_new_host_keys": "every_command_that_logs_in_can_accept_new_host_keys",
            "ssh_command": "every_command_that_logs_in_can_do_it_by_another_ssh",
            "json": "programs_get_json_of_all_of_them",
            "debug": "each_says_its_steps",
        }.items()
        for mode in ("start", "stop", "restart", "remove")
    },
    ("socket", "upgrade"):
        "start/test_upgrade.py::test_idle_nodes_get_the_new_version_first_and_busy_ones_when_their_jobs_have_ended",
    ("timeout_s", "upgrade"):
        "start/test_upgrade.py::test_a_node_that_stays_busy_keeps_its_version_and_takes_jobs_again",
    ("json", "upgrade"): "start/test_upgrade.py::test_a_node_that_stays_busy_keeps_its_version_and_takes_jobs_again",
    **{
        (field, "upgrade"): "start/test_upgrade.py::test_an_upgrade_is_told_what_a_start_is_told"
        for field in (
            "bin_root", "cmd_port", "address", "parallel", "connect_timeout_s", "accept_new_host_keys", "ssh_command",
            "debug",
        )
    },
    ("bin_root", "remove"): f"{START}::test_what_a_slave_and_its_master_are_told_holds",
    ("forget", "remove"):
        "start/test_start.py::test_a_parent_is_not_removed_before_its_children_and_who_is_gone_is_forgotten_if_asked",
    ("socket", "remove"):
        "start/test_start.py::test_nothing_is_left_on_a_host_that_is_removed_and_it_is_forgotten",
    ("socket", "drain"): "system/test_draining.py::test_a_drained_node_is_left_out_named_and_shown",
    ("reason", "drain"): "system/test_draining.py::test_a_drained_node_is_left_out_named_and_shown",
    ("resume", "drain"): "system/test_draining.py::test_a_drained_node_is_left_out_named_and_shown",
    ("debug", "drain"): "system/test_draining.py::test_debug_says_whom_it_asks_for_what",
    ("debug", "store"): f"{DEBUG}::test_store_says_where_it_looks_and_what_it_removes",
    ("debug", "policy"): "policy/test_file.py::test_the_command_says_what_is_wrong_or_what_a_policy_holds",
    ("debug", "config"): f"{DEBUG}::test_config_says_which_files_it_reads_and_what_they_set",
}
"""The test of each switch in each mode."""


def test_every_switch_of_every_mode_has_a_test_of_what_it_does() -> None:
    rows = {(switch.field, mode) for switch in SWITCHES for mode in switch.modes}
    assert rows == BEHAVIOUR.keys()


@pytest.mark.parametrize("named", sorted(set(BEHAVIOUR.values())))
def test_the_test_that_is_named_exists(named: str) -> None:
    file, _, name = named.partition("::")
    assert f"def {name}(" in (TESTS / file).read_text()
