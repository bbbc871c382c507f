"""The one table of known hazards: what goes wrong in real exports, and which tests keep it from coming back.

D1 to D16 are ways in which one request is told several times; C1 to C12 are what parsing has to survive. The
rows are numbered for good: a new hazard gets the next number. ``test_hazard_table.py`` checks that each row has
tests, that these exist, and that no test of this folder stands outside the table.
"""

from __future__ import annotations

DOUBLE = "tests/hazards/test_double_counting.py"
PARSING = "tests/hazards/test_parsing_checklist.py"
GROUPING = "tests/normalise/test_call_grouping.py"
REPAIR = "tests/load/test_otlp_repair.py"
HOSTILE = "tests/test_hostile_input.py"
LITELLM = "tests/load/test_litellm_rows.py"

HAZARDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "D1": (
        "a container repeats the sum of its calls",
        (
            f"{DOUBLE}::test_d1_container_that_repeats_the_sum_of_its_calls",
            f"{GROUPING}::test_container_repeats_what_lies_below_it",
            f"{GROUPING}::test_container_that_repeats_its_only_call_is_no_call",
            f"{GROUPING}::test_container_alone_is_no_call_either",
        ),
    ),
    "D2": (
        "a container whose usage is not the sum of its calls",
        (f"{DOUBLE}::test_d2_container_that_holds_less_than_its_calls",),
    ),
    "D3": (
        "a framework's span around its SDK's span",
        (
            f"{DOUBLE}::test_d3_framework_span_around_the_span_of_its_sdk",
            f"{DOUBLE}::test_d3_framework_span_that_does_not_see_cached_tokens",
            f"{GROUPING}::test_framework_and_sdk_nested_are_one_call",
            f"{GROUPING}::test_outer_span_that_leaves_cached_tokens_out_is_the_same_call",
        ),
    ),
    "D4": (
        "the application's span and the gateway's",
        (
            f"{DOUBLE}::test_d4_application_and_gateway_describe_one_call",
            f"{GROUPING}::test_application_and_gateway_are_one_call",
            f"{GROUPING}::test_gateway_that_rewrites_the_response_id_is_still_the_same_call",
            f"{GROUPING}::test_response_id_joins_two_processes_across_traces",
            "tests/load/test_rows_and_traces.py::test_span_and_row_of_a_call_count_once",
        ),
    ),
    "D5": (
        "a gateway that writes two spans for one call",
        (
            f"{DOUBLE}::test_d5_gateway_that_writes_two_spans_for_one_call",
            f"{DOUBLE}::test_d5_gateway_whose_second_exporter_opens_a_trace_of_its_own",
        ),
    ),
    "D6": (
        "two instrumentations of one call",
        (
            f"{DOUBLE}::test_d6_two_instrumentations_on_one_call",
            f"{GROUPING}::test_two_instrumentations_beside_one_another_are_one_call",
            f"{GROUPING}::test_two_calls_of_one_scope_beside_one_another_are_two",
        ),
    ),
    "D7": (
        "two vocabularies on one span",
        (
            f"{DOUBLE}::test_d7_two_vocabularies_on_one_span",
            f"{DOUBLE}::test_d7_vocabularies_that_differ_are_not_added_the_first_counts",
        ),
    ),
    "D8": (
        "retries inside one span, or a span for each attempt",
        (
            f"{DOUBLE}::test_d8_attempts_are_calls_and_only_what_was_answered_is_billed",
            f"{GROUPING}::test_retries_with_usage_are_calls_of_their_own_and_failures_without_are_not_billed",
            f"{GROUPING}::test_failed_attempt_inside_the_span_of_all_attempts_is_not_that_call",
            f"{LITELLM}::test_retries_of_one_request_are_calls_of_their_own",
        ),
    ),
    "D9": (
        "a stream that is recorded twice",
        (
            f"{DOUBLE}::test_d9_stream_whose_usage_stands_on_a_record_beside_it",
            f"{DOUBLE}::test_d9_outer_and_inner_half_of_the_ai_sdk",
            f"{DOUBLE}::test_d9_span_that_ends_twice",
            f"{GROUPING}::test_usage_on_another_span_belongs_to_the_call_that_lacks_it",
        ),
    ),
    "D10": (
        "an event or a log record that repeats its span",
        (
            f"{DOUBLE}::test_d10_event_that_repeats_the_usage_of_its_span",
            f"{DOUBLE}::test_d10_log_record_that_repeats_the_usage_of_its_span",
            f"{GROUPING}::test_usage_on_an_event_belongs_to_its_span",
            "tests/load/test_otlp_logs.py::test_usage_that_span_and_record_both_have_counts_once",
            "tests/load/test_otlp_logs.py::test_usage_of_a_record_belongs_to_the_span_that_it_names",
        ),
    ),
    "D11": (
        "spans that are delivered again, files that overlap",
        (
            f"{DOUBLE}::test_d11_span_that_is_delivered_again_and_files_that_overlap",
            f"{DOUBLE}::test_d11_copies_that_differ_keep_what_came_last_and_the_tenant_of_any",
            f"{GROUPING}::test_delivered_twice_is_once",
            f"{LITELLM}::test_row_that_is_delivered_twice_counts_once",
            f"{HOSTILE}::test_copies_of_a_file_count_once",
            "tests/test_properties.py::test_redelivered_spans_count_once",
            "tests/graph/test_merge_table.py::test_copy_that_ended_last_counts_with_the_tenant_and_the_counts_of_any",
        ),
    ),
    "D12": (
        "copies that are sent when a span starts",
        (
            f"{DOUBLE}::test_d12_copy_that_was_sent_at_the_start",
            f"{DOUBLE}::test_d12_unfinished_span_without_a_final_copy_is_a_call_without_usage",
            f"{GROUPING}::test_unfinished_copy_gives_way_to_the_finished_span",
            f"{GROUPING}::test_pending_copy_of_logfire_is_no_call",
            "tests/load/test_xray.py::test_unfinished_copy_gives_way_to_the_final_one",
        ),
    ),
    "D13": (
        "a cached answer that is served again",
        (
            f"{DOUBLE}::test_d13_cached_answer_that_is_served_again",
            f"{GROUPING}::test_gateway_cache_hit_is_not_the_call_that_it_repeats",
            "tests/load/test_rows_and_traces.py::test_answer_from_the_gateways_cache_is_no_second_description",
        ),
    ),
    "D14": (
        "one response id on several calls",
        (
            f"{DOUBLE}::test_d14_run_id_that_several_calls_share",
            f"{DOUBLE}::test_d14_recorded_answers_that_are_played_again",
            f"{GROUPING}::test_response_id_of_a_replay_later_is_another_call",
        ),
    ),
    "D15": (
        "a batch whose usage is told at each poll",
        (
            f"{DOUBLE}::test_d15_batch_whose_usage_is_told_at_each_poll",
            f"{LITELLM}::test_batch_is_billed_once_at_half_price",
        ),
    ),
    "D16": (
        "cumulative columns, totals of a trace",
        (
            f"{DOUBLE}::test_d16_cumulative_columns_and_totals_of_the_trace_are_no_usage",
            "tests/load/test_phoenix.py::test_sums_over_descendants_are_no_usage",
            "tests/load/test_langfuse.py::test_traces_alone_hold_no_call",
        ),
    ),
    "C1": (
        "ids: hex of either case, base64, 0x, decimal, prefixes, short ones, empty parents",
        (
            f"{PARSING}::test_c1_an_id_is_the_same_in_every_spelling",
            f"{PARSING}::test_c1_spellings_meet_across_spans_of_one_trace",
            f"{PARSING}::test_c1_short_trace_ids_are_padded_on_the_left",
            f"{PARSING}::test_c1_no_parent_in_any_spelling_is_a_root",
            f"{REPAIR}::test_deviation_of_a_span_says_the_same",
            f"{REPAIR}::test_sixteen_digit_trace_ids_are_padded",
            "tests/load/test_datadog.py::test_ids",
            "tests/load/test_datadog.py::test_upper_half_of_a_trace_id_stands_on_some_of_its_spans_only",
            "tests/load/test_jaeger.py::test_ids_without_leading_zeros_are_the_ids_with_them",
            "tests/load/test_zipkin.py::test_short_ids_get_their_zeros",
            "tests/load/test_mlflow.py::test_version_2_has_hex_ids_and_other_names",
            "tests/load/test_mlflow.py::test_trace_in_mlflow_and_in_otlp_counts_once",
            "tests/load/test_xray.py::test_application_in_xray_and_gateway_in_otlp_are_one_graph",
        ),
    ),
    "C2": (
        "times: text and numbers, nanoseconds to seconds, missing ends, ends before their start",
        (
            f"{PARSING}::test_c2_nanoseconds_as_text_and_as_numbers",
            f"{PARSING}::test_c2_exact_nanoseconds_survive",
            f"{PARSING}::test_c2_missing_and_impossible_ends_cost_nothing_but_the_length",
            "tests/load/test_jaeger.py::test_odd_times_are_unknown_times",
            "tests/load/test_clickhouse.py::test_moments_of_all_settings_of_clickhouse_are_read",
            "tests/load/test_phoenix.py::test_moments_of_every_unit_are_read",
            "tests/load/test_console.py::test_moments",
            "tests/load/test_xray.py::test_all_ways_to_write_a_trace_say_the_same",
        ),
    ),
    "C3": (
        "counts of any type; what is no count is missing",
        (
            f"{PARSING}::test_c3_a_count_is_the_same_in_every_type",
            f"{PARSING}::test_c3_what_is_no_count_is_missing_and_never_a_number",
            f"{PARSING}::test_c3_corrupt_counts_are_noted",
            f"{HOSTILE}::test_huge_number_as_a_token_count_is_no_count",
            "tests/load/test_mlflow.py::test_values_are_json_in_a_text",
            "tests/load/test_phoenix.py::test_counts_are_floats_and_absent_values_null",
            "tests/load/test_clickhouse.py::test_counts_and_durations_are_texts",
            "tests/load/test_datadog.py::test_counts_are_floats",
        ),
    ),
    "C4": (
        "one key flat and nested",
        (
            f"{PARSING}::test_c4_nested_attributes_are_read_like_flat_ones",
            "tests/load/test_clickhouse.py::test_every_format_of_clickhouse_gives_the_digest_of_the_spans_as_otlp",
        ),
    ),
    "C5": (
        "absent usage is not zero usage",
        (
            f"{PARSING}::test_c5_absent_usage_is_unknown_and_not_free",
            f"{PARSING}::test_c5_zero_tokens_are_no_usage_either",
            f"{PARSING}::test_c5_zero_output_beside_input_is_a_count",
            "tests/normalise/test_disjoint_usage.py::test_missing_is_not_zero",
        ),
    ),
    "C6": (
        "traces in pieces, late and missing parents, circles, deep chains",
        (
            f"{PARSING}::test_c6_parent_in_another_file_and_on_a_later_line",
            f"{PARSING}::test_c6_parent_that_never_comes",
            f"{PARSING}::test_c6_parents_in_a_circle_end",
            f"{PARSING}::test_c6_chain_of_ten_thousand_spans",
            f"{HOSTILE}::test_call_that_is_its_own_parent",
            f"{HOSTILE}::test_chain_of_a_million_parents_is_walked_in_seconds",
        ),
    ),
    "C7": (
        "links into the file, out of it, several",
        (
            f"{PARSING}::test_c7_link_into_the_file_out_of_it_and_several",
            "tests/test_attribute.py::test_span_link_gives_the_tenant_back",
            "tests/test_attribute.py::test_link_out_of_the_file_leads_nowhere",
        ),
    ),
    "C8": (
        "kinds and status by number and by name",
        (
            f"{PARSING}::test_c8_kind_by_number_and_by_name",
            f"{PARSING}::test_c8_error_by_number_and_by_name",
            f"{PARSING}::test_c8_no_error_by_number_and_by_name",
            "tests/load/test_clickhouse.py::test_names_of_older_and_newer_exporters_are_read",
            "tests/load/test_mlflow.py::test_status",
            "tests/load/test_zipkin.py::test_status_and_error_tags",
            "tests/load/test_jaeger.py::test_status_and_error_tags",
        ),
    ),
    "C9": (
        "most spans are no calls",
        (
            f"{PARSING}::test_c9_spans_that_only_name_a_model_are_not_priced",
            f"{GROUPING}::test_model_name_alone_makes_no_call",
        ),
    ),
    "C10": (
        "the leaves are priced, what is left out is told",
        (f"{PARSING}::test_c10_the_leaves_are_priced_and_copies_above_them_are_counted",),
    ),
    "C11": (
        "Logfire's streams, AI SDK pairs, embeddings without a provider, rerank without tokens, Azure's run ids",
        (
            f"{PARSING}::test_c11_logfire_stream_is_one_call_with_the_usage_of_its_log",
            f"{PARSING}::test_c11_embeddings_without_a_provider_are_priced_by_their_model",
            f"{PARSING}::test_c11_rerank_without_tokens_is_no_lost_usage",
            f"{PARSING}::test_c11_azure_run_ids_do_not_merge_the_calls_of_a_run",
            f"{DOUBLE}::test_d9_outer_and_inner_half_of_the_ai_sdk",
        ),
    ),
    "C12": (
        "untrusted text",
        (
            f"{PARSING}::test_c12_text_from_a_file_cannot_break_out",
            f"{HOSTILE}::test_no_prompt_or_secret_is_told",
            f"{HOSTILE}::test_whole_emoji_and_nul_and_markup_are_text",
        ),
    ),
}
"""Row to what it is about and the tests that guard it, as pytest names them."""
