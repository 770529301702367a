"""The small table of a README: which rows it has, and that they are those of the large tables."""

from __future__ import annotations

from vit_bench.report.merging import merge
from vit_bench.report.summary import summarize

from .made_results import DEIT, VIT, accuracy, footprint, latency, limit, results


def rows(text: str) -> dict[str, list[str]]:
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return {name.strip(): [cell.strip() for cell in cells] for name, *cells in lines}


def test_our_files_the_reference_and_the_fastest_others():
    (device,) = merge([results(latency(), accuracy(), footprint())])
    text = summarize(device)
    assert text.startswith(f"**{DEIT}** on Mini PC, 2 threads, batch 1:\n\n|")
    table = rows(text)
    assert [*table] == [
        *("", "---", "vit-edge fp32", "vit-edge int8 dynamic", "vit-edge int8 static"),
        *("torch", "openvino", "openvino-int8"),  # 1.34 times torch in floats, 3.6 times in int8
    ]
    assert table["vit-edge fp32"] == ["30.5", "1.31 (1.25 to 1.38)", "38.5", "100.0", "0.400", "230"]
    assert table["torch"][1] == "1"


def test_a_peer_that_is_faster_than_all_of_ours_is_there():
    (device,) = merge([results(latency({"vit-edge fp32": 1.1, "torch": 1.0, "onnx": 1.5, "openvino": 1.2}))])
    assert [*rows(summarize(device))][2:] == ["vit-edge fp32", "torch", "onnx"]


def test_each_model_has_a_table_and_what_was_not_measured_no_column():
    (device,) = merge([results(latency({"vit-edge fp32": 1.1}, reference=None), latency(model=VIT))])
    first, second = summarize(device).split(f"**{VIT}**")
    assert rows(first)[""] == ["model alone, ms", "photo to answer, ms"]
    assert "same answer" not in second


def test_without_latencies_there_is_nothing_to_sum_up():
    (device,) = merge([results(limit())])
    assert summarize(device) == ""
