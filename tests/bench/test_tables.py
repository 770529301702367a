"""Tables against values computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vit_bench.report.captions import UNCLEAR, card_line
from vit_bench.report.merging import Measured
from vit_bench.report.tables import (
    escape,
    kernel_table,
    main_table,
    markdown_table,
    ratio,
    rounded,
    terminal_table,
)
from vit_bench.results import Absent, Load, Ratio

from .made_results import accuracy, footprint, latency, limit, results


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (0.01234, "0.0123"), (1.234, "1.23"), (9.996, "10.0"), (99.96, "100"), (1234.0, "1230")],
)
def test_numbers_have_three_significant_digits_and_no_exponent(value: float, text: str):
    assert rounded(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Ratio(value=1.3149, low=1.25, high=1.3806, pairs=10), "1.31 (1.25 to 1.38)"),
        (Ratio(value=1.02, low=0.97, high=1.07, pairs=10), f"1.02 (0.97 to 1.07): {UNCLEAR}"),
        (Ratio(value=1.02, low=1.0, high=1.04, pairs=10), f"1.02 (1.00 to 1.04): {UNCLEAR}"),
        (Ratio(value=0.9, low=0.85, high=0.99, pairs=10), "0.90 (0.85 to 0.99)"),
        (Ratio(value=2.0, low=2.0, high=2.0, pairs=1), "2.00 (one round: no interval)"),
        (None, ""),
    ],
)
def test_a_ratio_comes_with_its_interval_and_says_when_it_tells_nothing(value: Ratio | None, text: str):
    assert ratio(value) == text


def test_latency_in_ms_with_vit_edge_first_and_the_others_in_the_order_of_their_list():
    speeds = {"onnx": 1.25, "torch": 1.0, "vit-edge int8 static": 4.0, "vit-edge fp32": 1.6}
    table = main_table(latency({**speeds, "vit-edge int8 static portable": 2.0, "vit-edge int8 dynamic": 3.2}))
    assert table.header[1:3] == ("model alone, ms (p10 to p90)", "times as fast as torch")
    assert [row[0] for row in table.rows] == [
        *("vit-edge fp32", "vit-edge int8 dynamic", "vit-edge int8 static", "vit-edge int8 static portable"),
        *("torch", "onnx"),
    ]
    # torch 40 ms, so fp32 25 ms, with p10 1.5 % below and p90 3 % above; the photo takes 8 ms more: 48 / 33
    assert table.rows[0][1:] == (
        *("25.0 (24.6 to 25.8)", "1.60 (1.52 to 1.68)"),
        *("33.0 (32.5 to 34.0)", "1.45 (1.39 to 1.53)"),
    )
    assert table.rows[4][1:] == ("40.0 (39.4 to 41.2)", "1 (reference)", "48.0 (47.3 to 49.4)", "1 (reference)")


def test_without_a_reference_there_are_no_ratios():
    table = main_table(latency({"vit-edge fp32": 1.0}, reference=None))
    assert table.header == ("", "model alone, ms (p10 to p90)", "photo to answer, ms (p10 to p90)")


def test_a_batch_is_named():
    assert main_table(latency(batch=8)).header[1] == "model alone for 8 pictures, ms (p10 to p90)"
    assert "Latency, batch 8" in terminal_table(results(latency(batch=8)))


def test_accuracy_in_per_cent_with_intervals():
    table = main_table(accuracy({"torch": 400, "vit-edge fp32": 400, "onnx-dynamic": 380}))
    rows = {row[0]: row[1:] for row in table.rows}
    # Wilson: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n) for 400 of 500: 0.7627 and 0.8327
    assert rows["torch"] == ("80.0 (76.3 to 83.3)", "90.0 (87.1 to 92.3)", "(reference)", "")
    assert rows["onnx-dynamic"][2].startswith("96.0 (")
    # Bonett and Price: (21 - 1) / 502 lost, give or take 1.96 √((22/502 - (20/502)²) / 502)
    assert rows["onnx-dynamic"][3] == "-4.0 (-5.8 to -2.2)"


def test_clear_differences_of_accuracy_are_named():
    clear = markdown_table(Measured(section=accuracy({"torch": 400, "onnx": 400, "onnx-dynamic": 380}), runs=(_run(),)))
    assert f"- Top-1 differs clearly from torch's: onnx-dynamic; the others: {UNCLEAR}." in clear
    none = markdown_table(Measured(section=accuracy({"torch": 400, "onnx": 400}), runs=(_run(),)))
    assert f"- Top-1: {UNCLEAR} from torch, since every interval holds 0." in none


def test_footprint_in_seconds_and_mb_with_ratios():
    table = main_table(footprint(("vit-edge fp32", "torch")))
    assert table.rows[0][1:] == (
        *("0.400", "10.50 (10.00 to 11.03)", "230", "2.43 (2.32 to 2.56)"),
        *("22.9", "1.10", "182 (12 packages)", "1.10"),
    )
    assert table.rows[1][1:] == (
        *("0.440", "1 (reference)", "253", "1 (reference)"),
        *("25.2", "1 (reference)", "200 (13 packages)", "1 (reference)"),
    )


def test_limit_has_operations_the_engines_speed_and_the_share_of_it():
    section = limit(("vit-edge fp32",))
    # 12 products of 2·1000·1000·100 operations, in 20 ms: 120 GOP/s; 20 of 25 ms
    assert main_table(section).rows == (("vit-edge fp32", "2.50 (2.52)", "20.0", "120", "25.0", "80%"),)
    assert kernel_table(section.artifacts[0]).rows == (
        ("linear, fp32: mlp/hidden", "21.3", "85.2%", "2.40", "113", "94%"),
        ("GELU", "3.70", "14.8%", "", "", ""),
    )
    text = markdown_table(Measured(section=section, runs=(_run(),)))
    assert "<details><summary>Where the time goes: vit-edge fp32</summary>\n\n|  | ms |" in text


def test_batch_and_threads_are_columns_where_they_differ():
    section = limit(("vit-edge fp32",))
    both = replace(section, artifacts=(*section.artifacts, replace(section.artifacts[0], batch=8)))
    assert main_table(both).header[1:3] == ("batch", "threads")
    assert [row[1:3] for row in main_table(both).rows] == [("1", "2"), ("8", "2")]


def test_the_line_above_a_table_tells_the_machine_and_the_run():
    run = results(latency(), load=Load(others=0.12, stolen=0.01))
    assert card_line(Measured(section=run.latency[0], runs=(run,))) == (
        "Mini PC; AMD EPYC 9R14; avx512_vnni; 2026-11-24; other programs took 12% of the processors; "
        "2 threads; photo: 1280x960 JPEG, 300 kB; vit-edge 0.1.0, onnxruntime 1.32.0, torch 2.9.1, OpenVINO 2026.2"
    )


def test_a_machine_called_by_its_processor_is_named_once():
    run = results(latency(), device="AMD EPYC 9R14")
    assert card_line(Measured(section=run.latency[0], runs=(run,))).startswith("AMD EPYC 9R14; avx512_vnni; ")


def test_absent_ones_warnings_and_an_interruption_are_told_in_both_forms():
    absent = [
        Absent(name="openvino", reason="openvino not installed: pip install 'vit-edge[peers]'", crashed=False),
        Absent(name="torch-bf16", reason="ran out of memory", crashed=True),
    ]
    section = latency({"torch": 1.0}, absent=absent, warnings=["too noisy"], interrupted=True)
    lines = (
        "Interrupted: not everything was measured that was to be.",
        "openvino was not measured: openvino not installed: pip install 'vit-edge[peers]'",
        "torch-bf16 failed: ran out of memory",
        "Warning: too noisy",
    )
    plain = terminal_table(results(section))
    marked = markdown_table(Measured(section=section, runs=(_run(),)))
    for line in lines:
        assert line in plain.splitlines()
        assert f"- {escape(line)}" in marked.splitlines()


def test_names_cannot_break_a_table():
    assert escape("a|b <i>\n`c` [d](e) vit_b_16 _f_") == (r"a\|b &lt;i&gt; \`c\` \[d\](e) vit_b_16 \_f\_")
    section = latency({"torch": 1.0, "vit-edge fp32 (a|b <!-- vit-bench: end -->)": 2.0})
    text = markdown_table(Measured(section=section, runs=(_run(),)))
    assert "<!--" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.replace(r"\|", "").count("|") for row in rows} == {6}


def test_the_terminals_columns_are_aligned():
    lines = main_table(latency()).text().splitlines()
    ends = {line.index(")") for line in lines[1:]}  # of "34.1 (33.6 to 35.1)", right-aligned
    assert len(ends) == 1


def _run():
    return results(latency({"torch": 1.0}))
