"""The page on a run: it shows the run's figures, opens in a browser without a network, and runs no code but its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from playwright.sync_api import expect

from midigpt_core.cli.main import main
from midigpt_core.errors import DataError
from midigpt_core.testing import music
from midigpt_core.training.reporting import metrics_file
from midigpt_core.training.reporting.chart_data import COLOURS, Line
from midigpt_core.training.reporting.page import curves, report, samples
from midigpt_core.training.reporting.page.report import run_report
from midigpt_core.training.reporting.run_charts import run_charts
from midigpt_core.training.run import train
from support.browser import launched
from support.soundfont import soundfont

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from support.training import Configure

#: Text that would run, or end the element that it is in, if it were not escaped.
HOSTILE = "</script><script>window.hurt=1</script><img src=x onerror=window.hurt=1>\"'&amp;"
#: A file name cannot contain a slash.
HOSTILE_NAME = "<img src=x onerror=window.hurt=1>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def run(make_config: Configure, shard: Path, eval_shard: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run of six steps with everything that a page shows. Not to be written in."""
    folder = tmp_path_factory.mktemp("report")
    bank = folder / "bank.sf2"
    bank.write_bytes(soundfont())
    config = make_config(
        folder / "run", eval_steps=3, num_bars_choices=[4], sample_steps=3, sample_audio="ogg", soundfont=str(bank),
        music=1, music_pieces=2, max_steps=6,
    )  # fmt: skip
    return train(config, shard, eval_shard).run_dir


def values(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="values">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def opened(browser: Browser, path: Path, width: int = 1280, scheme: Any = "light") -> tuple[Page, list[str]]:
    """The page, and what it complains of or asks for."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    page.set_default_timeout(30_000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    own = path.absolute().as_uri()
    page.on("request", lambda asked: complaints.append(asked.url) if asked.url[:5] not in (own[:5], "data:") else None)
    page.goto(own)
    return page, complaints


def written(folder: Path, **contents: Any) -> Path:
    """A run folder with these descriptions (``settings``, ``corpus``, …) and lines of metrics."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if name == "metrics":
            lines = [line if isinstance(line, str) else json.dumps(line) for line in content]
            (folder / metrics_file.NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")
        else:
            (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def steps(count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"step": step, "loss": 5 / step, "learning_rate": 0.001, "gradient_norm": 1.0, "tokens": 100,
         "tokens_per_second": 50.0, "padding": 0.1, "seconds": 2.0, "data_wait": 0.1, **more}
        for step in range(1, count + 1)
    ]  # fmt: skip


def test_the_page_has_the_figures_of_the_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "-o", str(tmp_path / "out.html")]) == 0
    assert capsys.readouterr().out == f"Wrote {tmp_path / 'out.html'}.\n"
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert len(page) < 5_000_000
    assert "finished, 6 steps" in page

    records = metrics_file.records(run / metrics_file.NAME)
    drawn = values(page)["charts"]
    assert [chart["title"] for chart in drawn] == [chart.title for chart in run_charts(records)]
    losses = [record["loss"] for record in records if "loss" in record]
    training, evaluation = drawn[0]["lines"]
    assert (training["x"], training["y"]) == ([1, 2, 3, 4, 5, 6], pytest.approx(losses, rel=1e-4))
    assert evaluation["x"] == [3, 6]

    played = values(page)["samples"]
    assert [(sample["step"], sample["name"]) for sample in played] == [
        (step, f"prompt{number}") for step in (3, 6) for number in (1, 2, 3, 4)
    ]
    assert all(sample["audio"].startswith("data:audio/ogg;base64,") for sample in played)
    assert any(track["written"] for sample in played for track in sample["tracks"])
    for record in records:
        for name in record:
            if name.startswith("music/"):
                assert f"<td>{name.removeprefix('music/')}</td>" in page
    settings = json.loads((run / "settings.json").read_text(encoding="utf-8"))
    assert all(f"<td>{name}</td>" in page for name in settings)
    corpus = json.loads((run / "corpus.json").read_text(encoding="utf-8"))
    assert corpus["train"]["fingerprint"] in page
    provenance = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
    assert all(one["options_sha256"] in page for one in provenance["components"].values())
    assert "model_final.pt" in page


def test_a_browser_shows_the_run_without_a_network(run: Path, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(run_report(run), encoding="utf-8")
    for width in (1280, 390):
        grounds = set()
        for scheme in ("light", "dark"):
            page, complaints = opened(browser, path, width, scheme)
            assert page.locator("#charts figure svg").count() == len(values(path.read_text(encoding="utf-8"))["charts"])
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert complaints == []
            page.context.close()
        assert len(grounds) == 2


def test_curves_are_read_by_pointer_and_by_keys(run: Path, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(run_report(run), encoding="utf-8")
    page, complaints = opened(browser, path)
    figure = page.locator("#charts figure").first
    losses = values(path.read_text(encoding="utf-8"))["charts"][0]["lines"][0]
    box = figure.locator("svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 60)
    assert "step 6" in figure.locator(".legend").inner_text()
    assert "training {:.4g}".format(losses["y"][5]) in figure.locator(".legend").inner_text()
    plot = figure.locator(".plot")
    plot.focus()
    plot.press("Home")
    assert "step 1" in figure.locator(".legend").inner_text()
    plot.press("ArrowRight")
    assert "training {:.4g}".format(losses["y"][1]) in figure.locator(".legend").inner_text()
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert complaints == []
    page.context.close()


@pytest.mark.parametrize("recorded", [True, False])
def test_samples_are_played_and_drawn(run: Path, recorded: bool, browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    for sound in folder.rglob("*.ogg") if not recorded else ():
        sound.unlink()
    path = tmp_path / "report.html"
    path.write_text(run_report(folder), encoding="utf-8")
    page, complaints = opened(browser, path)
    card = page.locator(".sample").first
    assert ("Recorded sound." in card.inner_text()) == recorded
    colours = "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    assert card.locator("canvas").evaluate(colours) > 4
    assert card.locator("output").inner_text() == "6"
    card.locator("input").press("ArrowLeft")
    assert card.locator("output").inner_text() == "3"
    card.locator("button").click()
    expect(card.locator(".controls > span")).to_have_text(re.compile("^0:01"), timeout=30_000)
    card.locator("button").click()
    assert card.locator("button").inner_text() == "Play"
    # Another one's button ends the first.
    card.locator("button").click()
    page.locator(".sample").nth(1).locator("button").click()
    assert card.locator("button").inner_text() == "Play"
    assert complaints == []
    page.context.close()


def test_text_from_files_never_runs(browser: Browser, tmp_path: Path) -> None:
    folder = written(
        tmp_path / HOSTILE_NAME,
        metrics=[
            *steps(3),
            {"step": 3, "eval_loss": 2.0, f"eval_loss/{HOSTILE}": 1.0},
            {"step": 3, f"music/{HOSTILE}": 0.5},
        ],
        settings={
            "max_steps": {"value": 3, "origin": HOSTILE},
            HOSTILE: {"value": HOSTILE, "origin": "default"},
            "architecture": {"value": {"name": HOSTILE}, "origin": HOSTILE},
        },
        corpus={
            "train": {
                "rows": {"kept": 1, HOSTILE: 2}, "examples": {HOSTILE: [HOSTILE]}, "fingerprint": HOSTILE,
                "data_sets": [HOSTILE], "selection": {HOSTILE: 1}, "pieces": 1,
            },
            "train_sets": [{"name": HOSTILE, "pieces": {"pieces": 1}}],
        },
        provenance={"components": {HOSTILE: {"name": HOSTILE}}, HOSTILE: HOSTILE, "stream": {HOSTILE: HOSTILE}},
        environment={HOSTILE: [HOSTILE]},
    )  # fmt: skip
    (folder / f"model_final{HOSTILE_NAME}.pt").write_bytes(b"")
    step = folder / "samples" / "step3"
    music.scores()[0].to_midi(step / f"{HOSTILE_NAME}.mid")
    (step / "samples.json").write_text(
        json.dumps({HOSTILE_NAME: {"title": HOSTILE, "written": [[0, 1], "x", [1], [0, 10**9], [-1, -1]]}}), "utf-8"
    )
    path = tmp_path / "report.html"
    path.write_text(run_report(folder), encoding="utf-8")
    page, complaints = opened(browser, path)
    assert page.locator("h1").inner_text() == HOSTILE_NAME
    assert page.locator(".sample h3").inner_text() == HOSTILE_NAME
    assert page.locator(".sample .note").first.inner_text() == HOSTILE
    assert page.locator("#data h3").nth(1).inner_text() == f"Training set {HOSTILE}"
    assert page.locator("figcaption").count() > 3
    page.wait_for_timeout(300)
    assert page.evaluate("window.hurt") is None
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert complaints == []
    page.context.close()


def test_only_its_own_script_is_allowed(run: Path, browser: Browser, tmp_path: Path) -> None:
    """If a text were not escaped, it would not run either."""
    path = tmp_path / "report.html"
    path.write_text(
        run_report(run).replace("<main>", f"<main>{HOSTILE}<iframe src=http://127.0.0.1:9></iframe>"), "utf-8"
    )
    page, complaints = opened(browser, path)
    page.wait_for_timeout(300)
    assert page.evaluate("window.hurt") is None
    assert complaints
    assert all("Content Security Policy" in complaint for complaint in complaints), complaints
    page.context.close()


def test_a_run_that_goes_on_one_that_ended_and_one_that_was_interrupted(tmp_path: Path) -> None:
    settings = {"max_steps": {"value": 10, "origin": "a file"}}
    folder = written(tmp_path / "run", metrics=steps(4), settings=settings)
    assert "training, step 4 of 10" in run_report(folder)
    hour_ago = folder.stat().st_mtime - 3600
    os.utime(folder / metrics_file.NAME, (hour_ago, hour_ago))
    assert "not finished, step 4 of 10" in run_report(folder)
    (folder / "model_final.pt").write_bytes(b"of a shorter run")
    assert "not finished, step 4 of 10" in run_report(folder)
    written(folder, metrics=steps(10))
    assert "finished, 10 steps" in run_report(folder)
    begun = written(tmp_path / "begun", settings=settings, metrics=[])
    assert "No step has been taken yet." in run_report(begun)
    (begun / metrics_file.NAME).unlink()
    assert "metrics.jsonl is not there: no step has been taken." in run_report(begun)


def test_damage_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", metrics=[*steps(3), '{"step": 4, "lo', "\x00" * 50])
    (folder / "settings.json").write_bytes(b"\xff{")
    (folder / "corpus.json").write_text("[" * 100_000, encoding="utf-8")
    (folder / "provenance.json").write_text("[1]", encoding="utf-8")
    os.mkfifo(folder / "environment.json")
    sample = folder / "samples" / "step2"
    music.scores()[0].to_midi(sample / "prompt1.mid")
    (sample / "prompt2.mid").write_bytes((sample / "prompt1.mid").read_bytes()[:-30])
    (sample / "samples.json").write_text("{", encoding="utf-8")
    os.mkfifo(sample / "prompt1.ogg")
    page = run_report(folder)
    for problem in (
        "metrics.jsonl is damaged: 2 lines are left out.",
        "settings.json is damaged: it is not JSON.",
        "corpus.json is damaged: it is not JSON.",
        "provenance.json is damaged: it is not an object.",
        "environment.json cannot be read",
        "samples: step2/prompt2.mid",
    ):
        assert f"<li>{problem}" in page
    shown = values(page)
    assert shown["charts"][0]["lines"][0]["x"] == [1, 2, 3]
    assert [(sample["name"], "audio" in sample) for sample in shown["samples"]] == [("prompt1", False)]


@pytest.mark.parametrize("value", [None, 1, "x", [1], {"a": {"b": {"c": {"d": {"e": 1}}}}}, 10**400, 1e308, True])
def test_values_of_any_kind_are_shown(value: Any, tmp_path: Path) -> None:
    names = ("train", "train_sets", "eval", "rows", "components", "stream", "max_steps", "architecture")
    content = dict.fromkeys(names, value)
    nested = {name: {**content, "shards": value, "examples": value, "selection": value} for name in names}
    record = {"step": 1, "eval_loss": value, "eval_loss/ar": value, "music/x": value}
    for values_of in (content, nested):
        folder = written(
            tmp_path / "run", metrics=[*steps(1), record],
            settings=values_of, corpus=values_of, provenance=values_of, environment=values_of,
        )  # fmt: skip
        assert run_report(folder).startswith("<!doctype html>")


def test_reasons_of_rows_that_were_left_out_are_named(tmp_path: Path) -> None:
    rows = {"kept": 70, "no_header": 20, "min_notes": 10}
    corpus = {"train": {"rows": rows, "examples": {"no_header": ["17 (song.mid)"]}, "pieces": 70}}
    page = run_report(written(tmp_path / "run", metrics=steps(1), corpus=corpus))
    row = (
        "<tr><td>no header</td><td class=n>20</td><td class=n>20.0%</td><td>the file does not start with a MIDI header"
    )
    assert row in page
    assert "<td>17 (song.mid)</td>" in page
    assert page.index("<td>kept</td>") < page.index("<td>no header</td>") < page.index("<td>min notes</td>")


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for name, reason in (
        ("empty", "is not the folder of a run, which has metrics.jsonl and settings.json. Name"),
        ("nowhere", "is no folder. Name the folder of a run"),
        ("file", "is no folder. Name the folder of a run"),
    ):
        assert main(["report", str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"Error: {tmp_path / name}: {reason}")
        assert error.count("\n") == 1
        assert not (tmp_path / name / "report.html").exists()
    with pytest.raises(DataError, match="is no folder"):
        run_report(tmp_path / "nowhere" / metrics_file.NAME)


def test_the_page_is_in_the_runs_folder_unless_it_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path / "run", metrics=steps(1))
    assert main(["report", str(folder / metrics_file.NAME)]) == 0
    assert (folder / "report.html").read_text(encoding="utf-8").endswith("</html>\n")
    assert main(["report", str(folder), "-o", str(folder)]) == 2
    assert "Error: " in capsys.readouterr().err


def test_a_long_run_with_many_samples_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path / "run", metrics=steps(20_000))
    content = music.scores()[0].to_bytes()
    for step in range(1, 41):
        sample = folder / "samples" / f"step{step * 500}"
        sample.mkdir(parents=True)
        (sample / "prompt1.mid").write_bytes(content)
        (sample / "prompt1.ogg").write_bytes(bytes(300_000))
    page = run_report(folder)
    assert len(page.encode()) < 5_000_000
    shown = values(page)["samples"]
    assert len(shown) == samples.MOST_STEPS
    assert (shown[0]["step"], shown[-1]["step"]) == (500, 20_000)
    # The last ones have their sound.
    with_sound = [sample["step"] for sample in shown if "audio" in sample]
    assert 5 < len(with_sound) < len(shown)
    assert with_sound == [sample["step"] for sample in shown][-len(with_sound) :]
    assert "samples: 12 of 40 steps are on this page, evenly spread." in page
    assert f"samples: {12 - len(with_sound)} recordings are left out" in page
    monkeypatch.setattr(report, "MOST_CHARACTERS", 0)
    assert not any("audio" in sample for sample in values(run_report(folder))["samples"])


def test_no_spike_is_lost_where_points_are_left_out() -> None:
    y = np.ones(50_000)
    y[[123, 40_001]] = [9.0, -3.0]
    y[7] = np.nan
    line = Line(label="a", x=np.arange(50_000.0), y=y, colour=COLOURS[1], pale=True)
    thin = curves._line(line)
    assert len(thin["x"]) <= curves.MOST_POINTS
    assert {9.0, -3.0} <= set(thin["y"])
    assert thin["y"][thin["x"].index(123)] == 9.0


def test_a_report_needs_no_torch() -> None:
    code = (
        "import sys, midigpt_core.training.reporting.page.report; "
        "sys.exit(not {'torch', 'matplotlib'}.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
