import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ris_core.space
from ris_core.errors import ArtifactError, SearchError
from ris_core.records import Features
from ris_core.space import WHITENING_FLOOR, fit_space, norm_statistics


def features_of(values: object, space: str = "raw") -> Features:
    array = np.asarray(values, np.float32)
    return Features(array, np.arange(len(array)) * 10, space)


def clouds(n: int, d: int, seed: int) -> Features:
    """Correlated vectors far from the origin, as a backbone's are."""
    rng = np.random.default_rng(seed)
    return features_of(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d) * 10)


CLOUDS = st.builds(clouds, n=st.integers(20, 60), d=st.integers(2, 8), seed=st.integers(0, 2**32 - 1))


def test_centring_and_scaling_by_hand() -> None:
    base = features_of([[0, 0], [6, 0], [0, 8], [6, 8]])  # mean (3, 4), each 5 away from it
    corrected = fit_space(base).apply(base)
    np.testing.assert_allclose(corrected.values, [[-0.6, -0.8], [0.6, -0.8], [-0.6, 0.8], [0.6, 0.8]], atol=1e-7)
    np.testing.assert_array_equal(corrected.ids, base.ids)
    centred = fit_space(base, normalize=False).apply(base)
    np.testing.assert_array_equal(centred.values, [[-3, -4], [3, -4], [-3, 4], [3, 4]])
    scaled = fit_space(base[[1, 3]], center=False).apply(base[[3]])
    np.testing.assert_allclose(scaled.values, [[0.6, 0.8]], atol=1e-7)


def test_whitening_by_hand() -> None:
    base = features_of([[-4, 1], [4, 1], [0, 0], [0, 2]])  # variances 8 and 1/2 about (0, 1)
    space = fit_space(base, whiten=2, normalize=False)
    expected = [[-np.sqrt(2), 0], [np.sqrt(2), 0], [0, -np.sqrt(2)], [0, np.sqrt(2)]]
    np.testing.assert_allclose(space.apply(base).values, expected, atol=1e-6)
    first = fit_space(base, whiten=1, normalize=False).apply(base)
    np.testing.assert_allclose(first.values[:, 0], np.array(expected)[:, 0], atol=1e-6)


@given(CLOUDS)
@settings(deadline=None, max_examples=30)
def test_vectors_have_unit_length_and_centred_ones_mean_zero(base: Features) -> None:
    lengths = np.linalg.norm(fit_space(base).apply(base).values.astype(float), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)
    centred = fit_space(base, normalize=False).apply(base).values.astype(float)
    assert np.abs(centred.mean(axis=0)).max() < 1e-5


@given(CLOUDS, st.data())
@settings(deadline=None, max_examples=30)
def test_whitened_base_has_the_identity_as_covariance(base: Features, data: st.DataObject) -> None:
    components = data.draw(st.integers(1, base.values.shape[1]))
    whitened = fit_space(base, whiten=components, normalize=False).apply(base).values.astype(float)
    np.testing.assert_allclose(
        np.cov(whitened.T, bias=True).reshape(components, components), np.eye(components), atol=2e-3
    )


@given(CLOUDS)
@settings(deadline=None, max_examples=30)
def test_whitening_is_that_of_the_singular_values(base: Features) -> None:
    """Against the singular value decomposition of the centred base, which forms no covariance."""
    values = base.values.astype(float)
    left, singular, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    expected = left * np.sqrt(len(values))
    whitened = fit_space(base, whiten=values.shape[1], normalize=False).apply(base).values
    distinct = singular > 1e-2 * singular[0]
    np.testing.assert_allclose(np.abs(whitened[:, distinct]), np.abs(expected[:, distinct]), atol=2e-3)


def test_eigenvalues_below_the_floor_are_raised_to_it() -> None:
    rng = np.random.default_rng(0)
    line = rng.normal(size=(100, 1)) * [1.0, 0.0]  # nothing varies across the line
    space = fit_space(features_of(line), whiten=2, normalize=False)
    assert space.projection is not None
    lengths = np.linalg.norm(space.projection, axis=0)
    np.testing.assert_allclose(lengths[1] / lengths[0], 1 / np.sqrt(WHITENING_FLOOR), rtol=1e-6)


def test_blocks_change_nothing_but_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    base = clouds(50, 6, seed=1)
    whole = fit_space(base, whiten=4).apply(base).values
    statistics = norm_statistics(base)
    monkeypatch.setattr(ris_core.space, "_BLOCK_BYTES", 8 * 6 * 7)  # seven rows
    np.testing.assert_allclose(fit_space(base, whiten=4).apply(base).values, whole, atol=1e-6)
    assert norm_statistics(base) == pytest.approx(statistics)


def test_key_follows_the_content() -> None:
    base, other = clouds(30, 4, seed=1), clouds(30, 4, seed=2)
    assert fit_space(base).key == fit_space(base).key == fit_space(base).apply(other).space
    spaces = [fit_space(base), fit_space(other), fit_space(base, normalize=False), fit_space(base, whiten=4)]
    spaces += [fit_space(base, whiten=3), fit_space(base, center=False)]
    assert len({space.key for space in spaces}) == len(spaces)
    assert all(len(space.key) == 16 for space in spaces)


def test_space_that_changes_nothing_leaves_features_raw() -> None:
    base = clouds(30, 4, seed=1)
    same = fit_space(base, center=False, normalize=False).apply(base)
    assert same.space == "raw"
    np.testing.assert_array_equal(same.values, base.values)


@pytest.mark.parametrize("options", [{}, {"whiten": 3}, {"center": False}, {"normalize": False}])
def test_space_lives_on_disk(tmp_path: Path, options: dict[str, bool]) -> None:
    base = clouds(30, 4, seed=1)
    space = fit_space(base, **options)  # type: ignore[arg-type]
    space.save(tmp_path)
    opened = type(space).open(tmp_path)
    assert opened.key == space.key
    np.testing.assert_array_equal(opened.apply(base).values, space.apply(base).values)


def test_space_with_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    space = fit_space(clouds(30, 4, seed=1))
    space.save(tmp_path)
    path = tmp_path / "space.npz"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, b"?" + content[1:] if name == "mean.npy" else content)
    with pytest.raises(ArtifactError, match="no space to be read"):
        type(space).open(tmp_path)


def test_damaged_space_is_refused(tmp_path: Path) -> None:
    space = fit_space(clouds(30, 4, seed=1))
    with pytest.raises(ArtifactError, match="no space to be read"):
        type(space).open(tmp_path)
    space.save(tmp_path)
    path = tmp_path / "space.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match="no space to be read"):
        type(space).open(tmp_path)
    np.savez(path, mean=np.zeros(4), normalize=True, d=4, key=space.key)
    with pytest.raises(ArtifactError, match="does not have the hash"):
        type(space).open(tmp_path)


def test_features_of_another_space_or_length_are_refused() -> None:
    base = clouds(30, 4, seed=1)
    space = fit_space(base)
    with pytest.raises(SearchError, match=r"in space .* already"):
        space.apply(space.apply(base))
    with pytest.raises(SearchError, match="fitted on raw"):
        fit_space(space.apply(base))
    with pytest.raises(SearchError, match="d = 5; this space was fitted on d = 4"):
        space.apply(clouds(30, 5, seed=1))


def test_feature_without_direction_is_named() -> None:
    base = features_of([[1, 2], [3, 4], [2, 3]])  # the third is the mean
    with pytest.raises(SearchError, match=r"1 features cannot be scaled .* \(tiles 20\)"):
        fit_space(base).apply(base)
    with pytest.raises(SearchError, match=r"\(tiles 0\)"):
        fit_space(base, center=False).apply(features_of([[0, 0]]))
    same = features_of(np.full((7, 3), 0.1))  # their mean differs from them by rounding alone
    with pytest.raises(SearchError, match=r"7 features .* \(tiles 0, 10, 20, 30, 40, \.\.\.\)"):
        fit_space(same).apply(same)
    assert fit_space(base, normalize=False).apply(base).values[2].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("values", "options", "told"),
    [
        (np.zeros((0, 3)), {}, "on no features"),
        (np.eye(3), {"whiten": 2, "center": False}, "needs center = true"),
        (np.eye(3), {"whiten": 3}, r"must be in \[1, 2\]"),
        (np.eye(5)[:, :2], {"whiten": 3}, r"must be in \[1, 2\]"),
        (np.eye(3), {"whiten": 0}, r"must be in \[1, 2\]"),
        (np.full((9, 3), 0.1), {"whiten": 2}, "all the same"),
    ],
)
def test_impossible_space_is_refused(values: np.ndarray, options: dict[str, int], told: str) -> None:
    with pytest.raises(SearchError, match=told):
        fit_space(features_of(values), **options)  # type: ignore[arg-type]


def test_norm_statistics_by_hand() -> None:
    assert norm_statistics(features_of([[3, 4], [0, 7]])) == (6.0, 1.0)
    with pytest.raises(SearchError, match="no lengths"):
        norm_statistics(features_of(np.zeros((0, 3))))
