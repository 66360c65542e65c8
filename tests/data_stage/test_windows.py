"""Windows of a batch: cells, augmentation, genre and switches follow docs/sampling.md."""

from __future__ import annotations

from math import comb

import attrs
import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from midigpt_core.contracts import MaskContext
from midigpt_core.data.cells import Masker, draw_infill, window_cells
from midigpt_core.data.mixing import PieceDrawer
from midigpt_core.data.settings import StreamSettings
from midigpt_core.data.windows import WindowDrawer
from midigpt_core.errors import ConfigError, CorpusError
from midigpt_core.keys import Stage, derive
from midigpt_core.plugins import build
from midigpt_core.records import WindowBatch
from support.windows import EchoEncoder, EchoOptions, corpus_of, mask_ref, random_pieces

DRAWS = 20_000


def draw_keys(count: int, seed: int = 17) -> np.ndarray:
    return derive(seed, Stage.DRAW, np.arange(count))


def drawer_of(corpus, settings: StreamSettings) -> WindowDrawer:
    reference = mask_ref()
    masker = Masker(build(reference, MaskContext()), reference, settings.mask_apply_probability)
    return WindowDrawer(corpus, EchoEncoder(EchoOptions()), masker, settings)


def full_piece(tracks: int = 3, bars: int = 8):
    return bars, [list(range(bars))] * tracks


def windows_of(settings: StreamSettings, count: int = DRAWS, genres: list[str] | None = None) -> WindowBatch:
    """Windows of one full piece."""
    corpus = corpus_of([full_piece()], genres=genres)
    return drawer_of(corpus, settings).draw(draw_keys(count), np.zeros(count, dtype=np.int64)).windows


def test_a_window_does_not_depend_on_what_is_drawn_with_it():
    corpus = corpus_of(random_pieces(3, 30), random_pieces(4, 30), genres=["jazz,rock", "", "folk"])
    drawer = drawer_of(corpus, StreamSettings(velocity_off_probability=0.5, attribute_dropout=0.5))
    keys = draw_keys(300)
    pieces = PieceDrawer(np.arange(corpus.num_pieces)).draw(keys)
    together = drawer.draw(keys, pieces)
    some = np.arange(7, 300, 11)
    alone = drawer.draw(keys[some], pieces[some])
    rows = np.flatnonzero(np.isin(together.draw, some))
    assert together.draw[rows].tolist() == some[alone.draw].tolist()
    tracks, bars = alone.windows.infill.shape[1:]
    for name in attrs.fields_dict(WindowBatch):
        whole, part = getattr(together.windows, name), getattr(alone.windows, name)
        if name in ("infill", "masked"):
            assert not whole[rows][:, tracks:].any()
            whole = whole[:, :tracks, :bars]
        if name == "tracks":
            whole = whole[:, :tracks]
        if isinstance(whole, np.ndarray):
            np.testing.assert_array_equal(whole[rows], part, err_msg=name)


def test_cells_stay_within_the_window_and_apart():
    corpus = corpus_of(random_pieces(3, 60))
    settings = StreamSettings(infill_probability=0.8, mask_apply_probability=0.9)
    drawer = drawer_of(corpus, settings)
    keys = draw_keys(2000)
    windows = drawer.draw(keys, PieceDrawer(np.arange(corpus.num_pieces)).draw(keys)).windows
    valid = window_cells((windows.tracks >= 0).sum(axis=1), windows.num_bars)
    assert valid.shape == windows.infill.shape == windows.masked.shape
    assert (valid.sum(axis=(1, 2)) == (windows.tracks >= 0).sum(axis=1) * windows.num_bars).all()
    assert not (windows.infill & ~valid).any()
    assert not (windows.masked & ~valid).any()
    assert not (windows.masked & windows.infill).any()
    assert windows.masked.any()


@pytest.mark.parametrize(("fraction", "shape"), [(0.5, (1, 4)), (1.0, (2, 3))])
def test_infill_cells_follow_the_formula(fraction, shape):
    """The number of cells: binomial with a density uniform in 0 .. fraction, none counts as one; any set of one size
    is as likely as another."""
    tracks, bars = shape
    cells = tracks * bars
    valid = np.zeros((DRAWS, 3, 6), dtype=np.bool_)  # the batch is wider than the windows
    valid[:, :tracks, :bars] = True
    settings = StreamSettings(infill_probability=1.0, infill_bar_fraction=fraction)
    infill = draw_infill(valid, np.full(DRAWS, bars, dtype=np.int32), draw_keys(DRAWS), settings)
    assert not (infill & ~valid).any()
    chosen = infill[:, :tracks, :bars].reshape(DRAWS, cells)

    grid = (np.arange(20_000) + 0.5) / 20_000 * fraction
    binomial = [float(np.mean(comb(cells, k) * grid**k * (1 - grid) ** (cells - k))) for k in range(cells + 1)]
    expected = [0.0, binomial[0] + binomial[1], *binomial[2:]]
    counts = np.bincount(chosen.sum(axis=1), minlength=cells + 1)
    assert counts[0] == 0
    assert chisquare(counts[1:], np.array(expected[1:]) / sum(expected) * DRAWS).pvalue > 0.01

    for size in (1, 2):
        of_size = chosen[chosen.sum(axis=1) == size] @ (1 << np.arange(cells))
        sets = [code for code in range(1 << cells) if code.bit_count() == size]
        assert chisquare([(of_size == code).sum() for code in sets]).pvalue > 0.01


def test_whole_tracks_take_the_place_of_bars_and_leave_the_other_windows_as_they_are() -> None:
    keys = draw_keys(2000)
    valid = np.zeros((len(keys), 3, 6), dtype=np.bool_)  # the batch is wider than the windows
    valid[:, :2, :4] = True
    num_bars = np.full(len(keys), 4, dtype=np.int32)
    bars = StreamSettings(infill_probability=0.7)
    tracks = StreamSettings(infill_probability=0.7, infill_track_probability=0.4)
    without, infill = draw_infill(valid, num_bars, keys, bars), draw_infill(valid, num_bars, keys, tracks)
    changed = (without != infill).any(axis=(1, 2))
    assert changed.mean() == pytest.approx(0.7 * 0.4, abs=0.04)
    by_track = infill[changed].sum(axis=2)
    assert (np.sort(by_track) == [0, 0, 4]).all()
    assert by_track[:, 0].mean() == pytest.approx(2, abs=0.4)
    assert not draw_infill(valid, num_bars, keys, tracks.evaluation())[0].any()
    assert (
        draw_infill(valid, num_bars, keys, tracks.evaluation(infill=True))
        == draw_infill(valid, num_bars, keys, bars.evaluation(infill=True))
    ).all()


def test_attributes_are_left_out_one_by_one_and_all_together():
    settings = StreamSettings(attributes_off_probability=0.2, attribute_dropout=0.3)
    kept = windows_of(settings).attributes_kept
    assert kept.shape == (DRAWS, 2)
    # Of 2 attributes: both off as a whole or each by itself, or one of them, or none.
    on, off = 0.7, 0.3
    expected = [0.2 + 0.8 * off * off, 0.8 * on * off, 0.8 * on * off, 0.8 * on * on]
    counts = np.bincount(kept @ np.array([1, 2]), minlength=4)
    assert chisquare(counts, np.array(expected) * DRAWS).pvalue > 0.01
    assert windows_of(StreamSettings(), 10).attributes_kept is None
    assert windows_of(settings.evaluation(infill=True), 10).attributes_kept is None


def test_gates_open_as_often_as_asked():
    settings = StreamSettings(
        infill_probability=0.3,
        mask_apply_probability=0.6,
        velocity_off_probability=0.2,
        microtiming_off_probability=0.7,
        genre_probability=0.4,
    )
    windows = windows_of(settings, genres=["Jazz"])
    shares = {
        0.3: windows.infill.any(axis=(1, 2)),
        0.2: windows.use_velocity == 0,
        0.7: windows.use_microtiming == 0,
        0.4: windows.genre == 0,
    }
    for share, opened in shares.items():
        assert chisquare([opened.sum(), (~opened).sum()], [DRAWS * share, DRAWS * (1 - share)]).pvalue > 0.01
    assert set(windows.use_velocity.tolist()) == set(windows.use_microtiming.tolist()) == {-1, 0}
    # With 12 free cells or more, random hides some always, structured unless it leaves out every track.
    assert 0.5 < windows.masked.any(axis=(1, 2)).mean() <= 0.6


def test_augmentation_is_uniform():
    windows = windows_of(StreamSettings())
    shifts, counts = np.unique(windows.transpose, return_counts=True)
    assert shifts.tolist() == list(range(-6, 7))
    assert chisquare(counts).pvalue > 0.01
    assert kstest(windows.velocity_scale, "uniform", args=(0.8, 0.4)).pvalue > 0.01
    upward = windows_of(StreamSettings(transpose_range=(2, 3), velocity_scale=(1.0, 1.5)))
    assert set(upward.transpose.tolist()) == {2, 3}
    assert kstest(upward.velocity_scale, "uniform", args=(1.0, 0.5)).pvalue > 0.01


def test_a_genre_is_one_of_the_names_that_the_encoder_knows():
    windows = windows_of(StreamSettings(), genres=["Jazz,polka, rock ,klezmer,folk"])
    genres, counts = np.unique(windows.genre, return_counts=True)
    assert genres.tolist() == [0, 1, 2]
    assert chisquare(counts).pvalue > 0.01


def test_pieces_without_a_known_genre_have_none():
    styles = ["polka", "", "rock", "é,folk"]
    corpus = corpus_of([full_piece()] * 4, [full_piece()], genres=styles)
    pieces = np.arange(5).repeat(20)
    windows = drawer_of(corpus, StreamSettings()).draw(draw_keys(100), pieces).windows
    assert windows.genre.reshape(5, 20).tolist() == [[-1] * 20, [-1] * 20, [1] * 20, [2] * 20, [-1] * 20]


def test_evaluation_takes_pieces_as_they_are():
    settings = StreamSettings(velocity_off_probability=0.5, seed=44).evaluation()
    windows = windows_of(settings, 500)
    assert not windows.infill.any()
    assert not windows.masked.any()
    assert not windows.transpose.any()
    assert np.isnan(windows.velocity_scale).all()
    assert (windows.use_velocity == -1).all()
    assert settings == StreamSettings(seed=45).evaluation()
    assert windows_of(StreamSettings().evaluation(infill=True), 500).infill.any()


def test_damaged_columns_name_the_piece():
    corpus = corpus_of([full_piece()], [full_piece(), full_piece()])
    columns = corpus.shards[1].columns
    columns.track_cell_end[4] = 10**6
    with pytest.raises(CorpusError, match=r"shard1\.parquet, row 10: .* damaged .* `midigpt preprocess`"):
        drawer_of(corpus, StreamSettings()).draw(draw_keys(3), np.arange(3))


def test_settings_refuse_ranges_upside_down():
    with pytest.raises(ConfigError, match=r"transpose_range is \[3, -3\]"):
        StreamSettings(transpose_range=(3, -3))
    with pytest.raises(ConfigError, match=r"max_tracks is 1\. Give at least min_tracks, 2"):
        StreamSettings(min_tracks=2, max_tracks=1)
