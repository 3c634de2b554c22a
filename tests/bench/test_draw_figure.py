import shutil
from pathlib import Path

import pytest

from bench import draw_figure as command
from bench.__main__ import main
from bench.draw_figure import draw_all, draw_figure
from bench.figures.thesis import ON_PAGE, THESIS, FigureOptions
from bench.finished.finished_run import FinishedRun
from bench.report import write_report
from ris_core.errors import ArtifactError, SuiteError

BEGINNINGS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the run and of its cache to change."""
    cache = FinishedRun.open(finished_run).artifact("tiles").parent
    shutil.copytree(cache, tmp_path / ".ris_cache")
    return Path(shutil.copytree(finished_run, tmp_path / "reports" / "small" / "one"))


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_ending_names_the_format_and_the_bytes_are_the_same_twice(run: Path, tmp_path: Path, ending: str) -> None:
    first, again = tmp_path / f"first.v1{ending}", tmp_path / "new" / f"again{ending}"
    for path in (first, again):
        assert draw_figure(FinishedRun.open(run), "queries", FigureOptions(), path) == [path]
    assert first.read_bytes().startswith(BEGINNINGS[ending])
    assert first.read_bytes() == again.read_bytes()


def test_figure_goes_into_the_runs_pictures_under_a_name_that_tells_its_options(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "--tile",
        "8",
        "--tile",
        "40",
        "--ranks",
        "1,3",
        "--engine",
        "falconn/tables2-hash_bits4/probes_per_table2",
    ]
    assert main(["figure", str(run), "selected", *options]) == 0
    stem = "selected-tile-8-40-engine-falconn_tables2-hash_bits4_probes_per_table2-ranks-1-3"
    expected = [run / "figures" / "pictures" / f"{stem}{ending}" for ending in (".png", ".svg")]
    assert capsys.readouterr().out.split() == [str(path) for path in expected]
    assert all(path.is_file() for path in expected)


def test_command_passes_its_options_on(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple] = []
    monkeypatch.setattr(command, "draw_figure", lambda run, name, options, out: seen.append((name, options, out)) or [])
    monkeypatch.setattr(command, "draw_all", lambda run, options, out: seen.append(("all", options, out)) or ([], []))
    attention = ["attention", "--tile", "3", "--backbone", "micro", "--mass", "0.8", "--out", "a.pdf"]
    assert main(["figure", str(run), *attention]) == 0
    assert main(["figure", str(run), "losses", "--published"]) == 0
    assert main(["figure", str(run), "nearest", "--k", "5"]) == 0
    assert main(["figure", str(run), "all", "--out", str(tmp_path)]) == 0
    assert seen == [
        ("attention", FigureOptions(tile=(3,), backbone="micro", mass=0.8), Path("a.pdf")),
        ("losses", FigureOptions(published=True), None),
        ("nearest", FigureOptions(k=5), None),
        ("all", FigureOptions(), tmp_path),
    ]


def test_help_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["figure", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert all(name in shown for name in (*THESIS, "all"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "figure 'fly' is unknown"),
        (["queries", "--out", "x.jpg"], "--out x.jpg: its ending names the format; allowed: .png, .svg, .pdf"),
        (["queries", "--out", "x"], "allowed: .png, .svg, .pdf"),
        (["neighbours", "--tile", "99"], "tile 99 is not among"),
        (["queries", "--cache", "nowhere"], "is not in the cache any more"),
    ],
)
def test_what_is_wrong_goes_to_stderr_with_status_2(
    run: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["figure", str(run), *arguments]) == 2
    seen = capsys.readouterr()
    assert message in seen.err
    assert seen.out == ""


def test_file_that_cannot_be_written_is_told(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ArtifactError, match="cannot be written"):
        draw_figure(FinishedRun.open(run), "queries", FigureOptions(), tmp_path / "file" / "x.png")


def test_all_draws_what_it_can_and_tells_what_it_cannot(run: Path, tmp_path: Path) -> None:
    options = FigureOptions(backbone="colour", k=3)
    files, reasons = draw_all(FinishedRun.open(run), options, tmp_path / "all")
    assert [path.name for path in files] == [
        "queries.png", "neighbours-backbone-colour-k-3.png", "nearest-backbone-colour-k-3.png",
        "matches-backbone-colour-k-3.png", "selected-backbone-colour.png", "false_positives-backbone-colour-k-3.png",
    ]  # fmt: skip
    assert [reason.partition(" was not drawn: ")[0] for reason in reasons] == [
        "losses", "region_query", "attention",
    ]  # fmt: skip
    assert "no backbone was trained" in reasons[0]  # the run here has no tables
    with pytest.raises(ArtifactError, match=r"losses was not drawn: (.|\n)*queries was not drawn: "):
        draw_all(FinishedRun.open(run, tmp_path), FigureOptions(), tmp_path)


@pytest.fixture
def page_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take seconds: the page shows those of the thesis alone."""
    monkeypatch.setattr("bench.figures.FIGURES", {})
    monkeypatch.setattr("bench.report.draw_pictures", lambda *arguments: [])


@pytest.mark.usefixtures("page_of_few")
def test_page_shows_the_figures_and_only_publishing_removes_those_of_others(run: Path) -> None:
    folder = run / "figures" / "pictures"
    for ending in ("svg", "pdf"):
        draw_figure(FinishedRun.open(run), "neighbours", FigureOptions(), folder / f"mine.{ending}")
    page = write_report(run).read_text(encoding="utf-8")
    drawn = [name for name in ON_PAGE if name != "region_query"]  # the suite asks for no regions
    for name in drawn:
        assert f'src="figures/pictures/{name}.png"' in page
        assert (folder / f"{name}.png").stat().st_size < 2_000_000
    assert {path.name for path in folder.iterdir()} == {"mine.svg", "mine.pdf", *(f"{name}.png" for name in drawn)}
    assert "region_query" not in page
    write_report(run, pictures=False)
    assert not folder.exists()


@pytest.mark.usefixtures("page_of_few")
def test_page_says_which_figures_the_cache_has_lost(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.figures.thesis.ON_PAGE", ("queries", "attention"))
    shutil.rmtree(FinishedRun.open(run).artifact("checkpoint", "micro"))
    page = write_report(run).read_text(encoding="utf-8")
    assert "<b>Attention</b>: no figure, because nothing of it is known, or the cache has lost it;" in page
    assert 'src="figures/pictures/queries.png"' in page
    assert str(run) not in page


def test_impossible_option_is_refused_before_anything_is_drawn(run: Path) -> None:
    with pytest.raises(SuiteError, match="--ranks 0"):
        draw_figure(FinishedRun.open(run), "selected", FigureOptions(ranks=(0,)))
