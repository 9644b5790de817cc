"""What a gfork has to do, as a numbered list, and which tests show each.

The list was made from the source of Globus gfork 5.0, from its Debian package as it runs, and from guides.  Tests in
tests/adapters/globus, which `make globus` runs, show the same beside the original if it passes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

ADAPTERS: Final = Path(__file__).parents[1]

CONFIGURATION, LINKS, SERVICE = "gfork/test_configuration.py", "gfork/test_links.py", "gfork/test_service.py"
MASTER, RULES = "gridftp/test_master.py", "gridftp/test_rules.py"

CONFORMANCE: Final[dict[str, tuple[str, ...]]] = {
    "1 operators in their order, signs within values, comments, quotes, a missing brace, unknown keys": (
        f"{CONFIGURATION}::test_the_example_of_its_documentation_means_what_it_says",
        f"{CONFIGURATION}::test_a_value_keeps_all_its_signs",
        f"{CONFIGURATION}::test_quotes_keep_blanks",
        f"{CONFIGURATION}::test_an_error_names_the_file_the_line_and_the_column",
        f"{CONFIGURATION}::test_the_end_of_the_file_ends_the_service_and_a_second_service_has_no_effect",
        f"{CONFIGURATION}::test_instance_is_instances",
        f"{CONFIGURATION}::test_an_unknown_key_is_a_warning_with_its_line_and_a_suggestion",
    ),
    "2 the environment of a child is that of the file, what is kept, and four variables": (
        f"{SERVICE}::test_a_program_has_exactly_the_environment_of_the_file_and_what_is_kept",
    ),
    "3 the client is on descriptors 0 and 1; nice is for children; port 0 is shown as the real one": (
        f"{SERVICE}::test_a_program_has_the_connection_as_its_input_and_output",
        f"{SERVICE}::test_a_master_has_its_own_user_and_not_the_servers_priority",
        f"{SERVICE}::test_a_program_has_exactly_the_environment_of_the_file_and_what_is_kept",
    ),
    "4 no process holds a descriptor of another's link, or the listener": (
        f"{SERVICE}::test_no_process_has_descriptors_of_another",
    ),
    "5 the header is that of Globus, however it is cut": (
        f"{LINKS}::test_the_header_is_that_of_globus",
        f"{LINKS}::test_frames_arrive_however_they_are_cut",
    ),
    "6 OPENED comes before data, and data before CLOSED": (
        f"{LINKS}::test_what_a_child_wrote_before_it_ended_arrives_between_its_beginning_and_its_end",
    ),
    "7 the table of destinations": (
        f"{LINKS}::test_the_table_of_destinations_holds",
        f"{LINKS}::test_messages_go_where_the_table_says",
    ),
    "8 a false sender is corrected, a peer's OPENED and CLOSED are ignored, a huge header costs its peer alone": (
        f"{LINKS}::test_messages_go_where_the_table_says",
        f"{LINKS}::test_a_child_that_sends_garbage_loses_its_link_and_nobody_else_does",
    ),
    "9 a client above the limit reads 421; the end of a master leaves the limit as it was": (
        f"{SERVICE}::test_a_client_above_the_limit_is_told_so_and_a_place_that_is_free_is_used",
        f"{LINKS}::test_a_master_that_ends_is_started_again_and_its_children_learn_of_it",
    ),
    "10 without a master no link is named": (f"{SERVICE}::test_without_a_master_no_link_is_named",),
    "11 a master that is killed is replaced, and children are told": (
        f"{LINKS}::test_a_master_that_ends_is_started_again_and_its_children_learn_of_it",
        f"{LINKS}::test_pauses_between_starts_double_up_to_a_minute",
    ),
    "12 SIGTERM and SIGINT end all, SIGHUP reads the file again": (
        f"{SERVICE}::test_sigterm_ends_children_and_masters_first_kindly_then_by_force",
        f"{SERVICE}::test_sigint_ends_children_and_masters_too",
        f"{SERVICE}::test_sighup_reads_the_configuration_again",
        f"{SERVICE}::test_a_configuration_that_is_wrong_changes_nothing",
        f"{SERVICE}::test_sighup_starts_new_masters_and_ends_those_that_are_gone",
        "gridftp/test_nodes.py::test_sighup_moves_the_data_nodes_to_those_of_the_new_file",
    ),
    "13 a master that does not read, a child that floods: bounded memory, others are served": (
        f"{LINKS}::test_a_flood_to_a_master_that_does_not_read_costs_bounded_memory_and_others_are_served",
        f"{LINKS}::test_a_child_that_does_not_read_loses_its_link_in_time_and_others_get_their_messages",
    ),
    "14 two masters": (f"{LINKS}::test_two_masters_both_know_and_both_hear",),
    "15 a failure to execute is logged; connections leave nothing; a lack of descriptors passes": (
        f"{SERVICE}::test_a_program_that_cannot_be_executed_is_logged_and_its_client_is_let_go",
        f"{SERVICE}::test_a_hundred_connections_leave_no_process_and_no_descriptor",
        f"{SERVICE}::test_a_thousand_connections_at_once_leave_no_process_and_no_descriptor",
        f"{SERVICE}::test_a_lack_of_descriptors_is_survived",
    ),
    "16 a registration is acknowledged, the next child gets the countdown and READY, each fault a NACK": (
        f"{MASTER}::test_servers_are_told_of_data_nodes_in_turn_and_of_new_ones_while_they_run",
        f"{MASTER}::test_what_is_no_registration_gets_a_nack_or_no_answer_and_the_next_is_served",
        f"{RULES}::test_a_registration_of_globus_is_understood_and_made_alike",
    ),
    "17 a registration ends after 600 s, a refresh extends and changes it, REMOVE works, running children are told": (
        f"{RULES}::test_a_registration_ends_after_ten_minutes_and_a_refresh_extends_and_changes_it",
        f"{RULES}::test_a_data_node_that_is_taken_out_is_not_handed_out",
        f"{MASTER}::test_servers_are_told_of_data_nodes_in_turn_and_of_new_ones_while_they_run",
    ),
    "18 stripes in turn; a data node registers again and again, and reports a NACK": (
        f"{RULES}::test_each_server_gets_the_next_data_nodes",
        f"{MASTER}::test_a_data_node_registers_itself_and_takes_itself_out_when_it_ends",
        f"{MASTER}::test_a_data_node_is_patient_with_a_front_end_that_is_not_there",
    ),
    "19 memory: the sequence of 512M; what is held and what is left is the whole; -m and 16G serve the first client": (
        f"{RULES}::test_half_a_gigabyte_is_shared_as_by_globus",
        f"{RULES}::test_a_small_limit_serves_more_than_one_client",
        f"{RULES}::test_what_is_held_and_what_is_left_is_always_the_whole",
        f"{RULES}::test_a_large_memory_serves_its_first_client_with_a_limit_that_fits_its_number",
        f"{MASTER}::test_memory_is_shared_and_a_server_for_which_there_is_none_is_ended",
    ),
    "20 the file of names: each line counts, whole names alone, a file that is missing lets nobody in": (
        f"{RULES}::test_a_file_of_names_is_read_line_by_line_and_letter_for_letter",
        f"{RULES}::test_a_file_that_cannot_be_read_lets_nobody_in",
        f"{MASTER}::test_nodes_of_the_cluster_register_with_their_certificates",
    ),
}
"""What a gfork and its GridFTP master do."""

FAULTS: Final[dict[str, tuple[str, ...]]] = {
    "1 kill() with its arguments exchanged; SIGTERM and SIGHUP not handled": CONFORMANCE[
        "12 SIGTERM and SIGINT end all, SIGHUP reads the file again"
    ],
    "2 421 is never sent; interface, UNLIMITED, unknown keys and + do nothing": (
        f"{SERVICE}::test_a_client_above_the_limit_is_told_so_and_a_place_that_is_free_is_used",
        f"{SERVICE}::test_the_words_for_a_crowd_can_be_chosen_and_a_source_can_have_a_limit",
        f"{SERVICE}::test_unlimited_is_no_limit",
        f"{SERVICE}::test_both_versions_of_ip_are_served",
        f"{CONFIGURATION}::test_an_unknown_key_is_a_warning_with_its_line_and_a_suggestion",
        f"{CONFIGURATION}::test_a_value_keeps_all_its_signs",
    ),
    "3 a master that ends counts as a connection less": (
        f"{LINKS}::test_a_master_that_ends_is_started_again_and_its_children_learn_of_it",
    ),
    "4 without a master children wait for ever": (f"{SERVICE}::test_without_a_master_no_link_is_named",),
    "5 children inherit the links of masters": (f"{SERVICE}::test_no_process_has_descriptors_of_another",),
    "6 a header of 2^62 bytes ends gfork; no limit to what waits": (
        f"{LINKS}::test_a_child_that_sends_garbage_loses_its_link_and_nobody_else_does",
        f"{LINKS}::test_a_flood_to_a_master_that_does_not_read_costs_bounded_memory_and_others_are_served",
    ),
    "7 two masters end gfork": (
        f"{LINKS}::test_two_masters_both_know_and_both_hear",
        f"{LINKS}::test_an_outbox_owes_nothing_for_a_child_that_came_and_went",
    ),
    "8 what is unread at a child's end may be lost": (
        f"{LINKS}::test_what_a_child_wrote_before_it_ended_arrives_between_its_beginning_and_its_end",
    ),
    "9 lines of the log come twice after a fork": (
        f"{SERVICE}::test_a_program_that_cannot_be_executed_is_logged_and_its_client_is_let_go",
    ),
    "10 descriptors of a dead master stay open": (f"{SERVICE}::test_a_master_that_was_replaced_leaves_no_descriptor",),
    "11 registrations never expire": (
        f"{RULES}::test_a_registration_ends_after_ten_minutes_and_a_refresh_extends_and_changes_it",
    ),
    "12 a data node that was removed is handed out; an invalid REMOVE has no answer": (
        f"{RULES}::test_a_data_node_that_is_taken_out_is_not_handed_out",
        f"{MASTER}::test_servers_are_told_of_data_nodes_in_turn_and_of_new_ones_while_they_run",
    ),
    "13 a refresh does not change the numbers": (
        f"{RULES}::test_a_registration_ends_after_ten_minutes_and_a_refresh_extends_and_changes_it",
    ),
    "14 running children are told of an empty data node": (
        f"{MASTER}::test_servers_are_told_of_data_nodes_in_turn_and_of_new_ones_while_they_run",
    ),
    "15 -m ends every early client, and large sizes overflow": (
        f"{RULES}::test_a_large_memory_serves_its_first_client_with_a_limit_that_fits_its_number",
    ),
    "16 -ns ends the master": (f"{RULES}::test_the_switches_of_the_guides_examples_are_understood",),
    "17 RELEASE has its type in the wrong byte": (
        f"{RULES}::test_a_release_is_understood_as_it_should_be_written_and_as_globus_writes_it",
    ),
    "18 names are checked wrongly, and a file that cannot be read lets everybody in": CONFORMANCE[
        "20 the file of names: each line counts, whole names alone, a file that is missing lets nobody in"
    ],
    "19 READY before the data nodes; a child that waited and died gets memory": (
        f"{MASTER}::test_servers_are_told_of_data_nodes_in_turn_and_of_new_ones_while_they_run",
        f"{RULES}::test_a_server_that_waits_is_tried_again_when_another_ends_and_its_memory_comes_back",
        f"{RULES}::test_what_is_held_and_what_is_left_is_always_the_whole",
    ),
    "20 a registration that never comes is awaited for ever": (
        f"{MASTER}::test_what_is_no_registration_gets_a_nack_or_no_answer_and_the_next_is_served",
        f"{MASTER}::test_a_node_that_connects_and_says_nothing_is_let_go_in_time",
    ),
}
"""Faults of Globus' gfork 5.0 and its GridFTP master that ours must not have."""


TESTS: Final = sorted({test for listed in (CONFORMANCE, FAULTS) for tests in listed.values() for test in tests})


@pytest.mark.parametrize("named", TESTS)
def test_the_test_that_shows_it_exists(named: str) -> None:
    file, _, test = named.partition("::")
    assert f"def {test}(" in (ADAPTERS / file).read_text()


@pytest.mark.parametrize("listed", [CONFORMANCE, FAULTS], ids=["conformance", "faults"])
def test_the_list_has_twenty_numbers(listed: dict[str, tuple[str, ...]]) -> None:
    assert [int(what.split()[0]) for what in listed] == list(range(1, 21))
    assert all(listed.values())
