"""Every switch of every mode has a test of what it does, not only of how it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from gproc.cli.switches import SWITCHES

TESTS: Final = Path(__file__).parents[1]

BEHAVIOUR: Final = {
    ("local_bin", "e"): "system/test_program.py::test_with_localbin_the_nodes_own_program_runs",
    ("private", "s"): "system/test_program.py::test_a_node_without_private_views_runs_plain_and_says_so",
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
    ("store_bytes", "s"): "cli/test_store.py::"
    "test_a_bundle_beyond_the_size_of_the_store_is_refused_with_the_nodes_name",
    ("exclude", "e"): "system/test_tree.py::test_excluded_nodes_run_nothing_and_the_others_do",
    ("exclude", "cp"): "copy/test_copies.py::test_excluded_nodes_get_no_copy",
    ("exclude", "get"): "copy/test_copies.py::test_excluded_nodes_are_left_out",
    ("label", "e"): "system/test_output.py::test_a_label_is_before_each_line",
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
    ("json", "bundle"): "bundle/test_bundle_command.py::test_json_has_the_same_content_for_programs",
    ("json", "store"): "cli/test_store.py::test_programs_get_json",
    ("store", "store"): "cli/test_store.py::test_the_table_shows_each_bundle_and_what_all_take",
    ("json", "config"): "cli/test_settings.py::test_gproc_config_shows_what_holds_and_whence",
    ("tar", "bundle"): "bundle/test_bundle_command.py::test_the_tar_file_is_the_bundle_and_the_same_each_time",
}
"""The test of each switch in each mode."""

WITHOUT: Final = {
    ("bin_root", "m"), *(("socket", mode) for mode in ("m", "e", "cp", "get", "i")),
    *(("locale", mode) for mode in ("m", "s")), ("cmd_port", "m"), ("root", "bundle"),
    ("library_path", "bundle"), ("parent", "s"), *(("address", mode) for mode in ("m", "s")),
    *(("store", mode) for mode in ("m", "s")), ("store_bytes", "m"),
    *(("link_timeout_s", mode) for mode in ("m", "s")), ("timeout_s", "cp"),
    ("json_progress", "cp"), ("out", "cert"), ("addresses", "cert"),
    *(("debug", mode) for mode in ("m", "s", "e", "cp", "get", "i", "bundle", "cert", "store", "config")),
}  # fmt: skip
"""Switches whose test is still to be written or to be named above.  A new switch may not be added here."""


def test_every_switch_of_every_mode_has_a_test_of_what_it_does() -> None:
    rows = {(switch.field, mode) for switch in SWITCHES for mode in switch.modes}
    assert rows == BEHAVIOUR.keys() | WITHOUT
    assert not BEHAVIOUR.keys() & WITHOUT


@pytest.mark.parametrize("named", sorted(set(BEHAVIOUR.values())))
def test_the_test_that_is_named_exists(named: str) -> None:
    file, _, name = named.partition("::")
    assert f"def {name}(" in (TESTS / file).read_text()
