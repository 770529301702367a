"""Reports: merging of runs, and READMEs and plots that say what the results say."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from vit_bench.errors import OutdatedError, ResultsError
from vit_bench.report.merging import merge
from vit_bench.report.pages import BEGIN, END, check_page, update_page
from vit_bench.report.report import Report, check_plots, make_report, write_plots
from vit_bench.results import Absent, Results

from .made_results import DEIT, VIT, accuracy, footprint, latency, limit, results

OLD, NEW = "2026-11-20T10:00:00+00:00", "2026-11-24T10:00:00+00:00"
SPEEDS = {"vit-edge fp32": 1.3, "torch": 1.0, "onnx": 1.2}
RIGHT = {"vit-edge fp32": 395, "torch": 395, "onnx": 394}


def everything() -> Results:
    return results(
        *(latency(SPEEDS), accuracy(RIGHT), footprint(("vit-edge fp32", "torch")), limit(("vit-edge fp32",))),
        latency(SPEEDS, model=VIT, torch_seconds=0.35),
    )


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n", encoding="utf-8")
    return path


@pytest.fixture
def current(readme: Path) -> Path:
    """A README and plots that show `everything`."""
    report = make_report([everything()], plots=readme.parent / "docs" / "images", page=readme)
    update_page(readme, report.markdown)
    write_plots(report)
    check(readme, report)
    return readme


def check(readme: Path, report: Report) -> None:
    """What `vit-bench report --check` does."""
    check_page(readme, report.markdown)
    check_plots(report)


def report_for(readme: Path, *given: Results):
    return make_report(given or [everything()], plots=readme.parent / "docs" / "images", page=readme)


def test_a_report_has_a_section_for_each_model_and_links_to_its_plots(readme: Path):
    report = report_for(readme)
    headings = [line for line in report.markdown.splitlines() if line.startswith("#")]
    assert headings == ["### Mini PC", f"#### {DEIT}", f"#### {VIT}"]
    assert [file.path.name for file in report.plots] == ["bench.pareto.mini-pc.png", "bench.bars.mini-pc.png"]
    assert "](docs/images/bench.bars.mini-pc.png)" in report.markdown
    assert "none is both faster and more accurate than vit-edge fp32]" in report.markdown


def test_links_start_at_the_readmes_folder(tmp_path: Path):
    report = make_report([everything()], plots=tmp_path / "a (b)", page=tmp_path / "docs" / "README.md")
    assert "](../a%20%28b%29/bench.bars.mini-pc.png)" in report.markdown


def test_what_was_not_measured_has_no_plot(readme: Path):
    assert report_for(readme, results(limit())).plots == ()
    names = [file.path.name for file in report_for(readme, results(latency(SPEEDS))).plots]
    assert names == ["bench.bars.mini-pc.png"]
    assert report_for(readme, results(latency(SPEEDS, batch=8))).plots == ()


def test_nothing_measured_is_an_error(readme: Path):
    with pytest.raises(ResultsError, match="nothing was measured"):
        report_for(readme, results())


def test_devices_are_told_apart_also_where_their_file_names_would_be_the_same(readme: Path):
    runs = [results(latency(SPEEDS), device=device) for device in ("Pi 5", "pi-5", "板")]
    report = report_for(readme, *runs)
    names = [file.path.name for file in report.plots]
    assert len(set(names)) == 3
    assert all(name.isascii() for name in names)
    assert report.markdown.count("### ") == 3 + 3  # "####" holds it too


FROM_TWO = (
    "From 2 sessions (2026-11-24 10:00, 2026-11-20 10:00, UTC). Each ratio is the mean of the sessions' own, and its "
    "interval holds all of theirs."
)


def test_runs_of_one_device_come_into_one_table():
    first = results(latency({"vit-edge fp32": 1.3, "torch": 1.0}), date=OLD)
    second = results(latency({"onnx": 1.2, "torch": 1.0}), date=NEW)
    (device,) = merge([first, second])
    (measured,) = device.measured
    assert {entry.contender.name for entry in measured.section.contenders} == {"vit-edge fp32", "torch", "onnx"}
    assert measured.notes == (FROM_TWO,)


def test_sessions_are_pooled_whatever_the_order_of_files(readme: Path):
    old = results(latency({**SPEEDS, "vit-edge fp32": 1.21}, torch_seconds=0.08, warnings=["noisy"]), date=OLD)
    new = results(latency({**SPEEDS, "vit-edge fp32": 1.44}, torch_seconds=0.04), date=NEW)
    texts = {report_for(readme, *order).markdown for order in itertools.permutations([old, new, everything()])}
    assert len(texts) == 1
    text = report_for(readme, old, new).markdown
    # torch: between 40 and 80 ms, from the lowest p10 (40 less 1.5 %) to the highest p90 (80 and 3 %)
    assert "| torch | 60.0 (39.4 to 82.4) | 1 (reference) |" in text
    # The geometric mean of 1.21 and 1.44; the interval from 1.21 / 1.05 to 1.44 * 1.05
    assert " | 1.32 (1.15 to 1.51) | " in text
    assert f"- {FROM_TWO}\n" in text
    assert "- Sessions differ by more than their own intervals: vit-edge fp32.\n" in text
    assert "- Warning: noisy" in text  # a newer run does not take it back
    assert (
        "<details><summary>Each session by itself</summary>\n\n"
        "|  | model alone, 2026-11-24 10:00 | model alone, 2026-11-20 10:00 "
        "| photo to answer, 2026-11-24 10:00 | photo to answer, 2026-11-20 10:00 |\n"
    ) in text
    assert "| vit-edge fp32 | 1.44 (1.37 to 1.51) | 1.21 (1.15 to 1.27) | " in text


@pytest.mark.parametrize("changed", [{"version": "onnxruntime 1.33.0"}, {"detail": "other settings"}])
def test_other_versions_and_settings_are_not_pooled(readme: Path, changed: dict[str, str]):
    old = results(latency({"torch": 1.0, "vit-edge fp32": 1.2}), date=OLD)
    section = latency({"torch": 1.0, "vit-edge fp32": 1.4})
    newer = tuple(
        replace(entry, contender=replace(entry.contender, **changed)) if entry.contender.tool == "vit-edge" else entry
        for entry in section.contenders
    )
    new = results(replace(section, contenders=newer), date=NEW)
    text = report_for(readme, old, new).markdown
    assert " | 1.40 (1.33 to 1.47) | " in text
    assert "- Measured more than once, the newest is shown: vit-edge fp32.\n" in text


def test_footprints_are_pooled_and_counts_are_the_newest():
    old, new = footprint(("vit-edge fp32", "torch")), footprint(("vit-edge fp32", "torch"))
    heavier = tuple(replace(entry, model_bytes=entry.model_bytes * 2) for entry in new.contenders)
    ((measured,),) = (
        device.measured
        for device in merge([results(old, date=OLD), results(replace(new, contenders=heavier), date=NEW)])
    )
    own = measured.entries[0]
    assert own.model_bytes == 45_800_000
    assert own.first_answer.samples == 200
    assert own.first_answer_speedup.pairs == 20


def test_the_machine_is_named_once_where_it_is_the_same_for_all_tables(readme: Path):
    def lines(*runs: Results) -> list[str]:
        return [line for line in report_for(readme, *runs).markdown.splitlines() if "AMD EPYC 9R14" in line]

    assert lines(everything()) == ["AMD EPYC 9R14; avx512_vnni; 2026-11-24"]
    older = results(footprint(), date=OLD)
    newer = results(latency(SPEEDS), date=NEW)
    assert [line.split("; 2 threads")[0] for line in lines(older, newer)] == [
        "**Latency, batch 1.** AMD EPYC 9R14; avx512_vnni; 2026-11-24",
        "**Footprint.** AMD EPYC 9R14; avx512_vnni; 2026-11-20",
    ]


def test_warnings_about_a_whole_run_are_told_once_with_its_date(readme: Path):
    busy = replace(everything(), warnings=("other programs took 30% of the processors: close them",))
    text = report_for(readme, busy).markdown
    assert text.count("30% of the processors") == 1
    assert text.endswith(f"- Warning: {NEW[:10]}: other programs took 30% of the processors: close them")


def test_the_same_file_twice_is_once(readme: Path):
    assert report_for(readme, everything(), everything()).markdown == report_for(readme).markdown


@pytest.mark.parametrize("other", [{"threads": 1}, {"batch": 8}, {"photo": "another"}, {"reference": None}])
def test_what_cannot_be_compared_stays_in_tables_of_its_own(other: dict[str, object]):
    section = latency(SPEEDS)
    (device,) = merge([results(section, date=OLD), results(replace(section, **other), date=NEW)])
    assert len(device.measured) == 2


def test_merging_keeps_reasons_of_those_who_are_in_none_of_the_runs_and_every_interruption():
    gone = [Absent(name=name, reason=f"old: no {name}", crashed=False) for name in ("onnx", "openvino")]
    old = results(latency({"torch": 1.0, "vit-edge fp32": 1.3}, absent=gone, interrupted=True), date=OLD)
    reason = Absent(name="openvino", reason="crashed", crashed=True)
    new = results(latency({"torch": 1.0, "onnx": 1.2}, absent=[reason]), date=NEW)
    ((measured,),) = (device.measured for device in merge([old, new]))
    assert measured.section.absent == (reason,)
    assert measured.section.interrupted


def test_absent_ones_and_an_interruption_are_in_the_report(readme: Path):
    absent = [Absent(name="openvino", reason="not installed <x>", crashed=False)]
    text = report_for(readme, results(latency(SPEEDS, absent=absent, interrupted=True))).markdown
    assert "- openvino was not measured: not installed &lt;x&gt;" in text
    assert "- Interrupted:" in text


def test_only_what_is_between_the_marks_changes(readme: Path):
    update_page(readme, "new")
    assert readme.read_text() == f"# Title\n\n{BEGIN}\n\nnew\n\n{END}\n\nThe rest.\n"
    readme.write_bytes(readme.read_bytes().replace(b"\n", b"\r\n"))
    update_page(readme, "newer")
    assert readme.read_bytes() == f"# Title\n\n{BEGIN}\n\nnewer\n\n{END}\n\nThe rest.\n".replace("\n", "\r\n").encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{BEGIN}\n", f"has no line {END}"),
        (f"{END}\n", f"has no line {BEGIN}"),
        (f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n", f"has the line {BEGIN} 2 times"),
        (f"{END}\n{BEGIN}\n", f"has {END} in front of {BEGIN}"),
        (f"In a sentence: {BEGIN} {END}\n", f"has no line {BEGIN}"),
    ],
)
def test_marks_that_are_missing_doubled_or_swapped_are_an_error(readme: Path, text: str, message: str):
    readme.write_text(text)
    for action in (lambda: update_page(readme, "x"), lambda: check(readme, report_for(readme))):
        with pytest.raises(ResultsError) as caught:
            action()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert readme.read_text() == text


def test_a_readme_that_cannot_be_read_is_an_error(tmp_path: Path):
    with pytest.raises(ResultsError, match="cannot be read"):
        update_page(tmp_path / "none.md", "x")
    (tmp_path / "latin.md").write_bytes(b"\xff")
    with pytest.raises(ResultsError, match="not UTF-8"):
        update_page(tmp_path / "latin.md", "x")


def test_a_changed_digit_in_the_readme_is_found(current: Path):
    text = current.read_text()
    number = next(n for n, line in enumerate(text.splitlines(), 1) if "30.8 (" in line)
    current.write_text(text.replace("30.8 (", "30.9 (", 1))
    with pytest.raises(OutdatedError) as caught:
        check(current, report_for(current))
    assert f"line {number} is '| vit-edge fp32 | 30.9" in str(caught.value)
    assert str(caught.value).endswith("; run: vit-bench report ... without --check")
    assert caught.value.exit_code == 3


def test_a_missing_last_line_is_found(current: Path):
    current.write_text(current.read_text().replace(f"\n\n{END}", f"\n{END}"))
    with pytest.raises(OutdatedError, match="and the results give ''"):
        check(current, report_for(current))


def test_a_changed_result_is_found(current: Path):
    changed = replace(everything(), footprint=(footprint(("vit-edge fp32",)),))
    with pytest.raises(OutdatedError, match="and the results give"):
        check(current, report_for(current, changed))


def test_a_change_too_small_for_the_table_makes_the_plot_outdated(current: Path):
    run = everything()
    first = run.latency[0]
    barely = replace(first, contenders=latency({**SPEEDS, "onnx": 1.2 * (1 + 1e-9)}).contenders)
    with pytest.raises(OutdatedError, match=r"pareto.mini-pc.png: was made from other data; run: vit-bench report"):
        check(current, report_for(current, replace(run, latency=(barely, run.latency[1]))))


def test_a_plot_that_is_missing_or_replaced_is_found_and_drawn_again(current: Path):
    report = report_for(current)
    pareto, bars = (file.path for file in report.plots)
    bars.unlink()
    with pytest.raises(OutdatedError, match=r"bars.mini-pc.png: is missing"):
        check(current, report)
    pareto_bytes = pareto.read_bytes()
    assert write_plots(report) == [bars]
    bars.write_bytes(pareto_bytes)
    with pytest.raises(OutdatedError, match=r"bars.mini-pc.png: was made from other data"):
        check(current, report)
    assert write_plots(report) == [bars]
    assert write_plots(report) == []
    check(current, report)


def test_windows_line_ends_are_no_difference(current: Path):
    current.write_bytes(current.read_bytes().replace(b"\n", b"\r\n"))
    check(current, report_for(current))
