"""Every engine that can run here keeps the contract."""

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ris_core.engines import ENGINES, make_params
from ris_core.engines.contract import Engine, missing_package, range_faults
from ris_core.errors import SearchError

N, D, Q = 300, 12, 40

SMALL: dict[str, dict[str, Any]] = {"falconn": {"hash_bits": 4}}  # build parameters for so few vectors
LEAST_VECTORS = {"scann": 16}
COMPLETE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # with these everything is looked at
    "exact": ({}, {}),
    "faiss_ivf": ({"lists": 7}, {"probes": 7}),
    "faiss_lsh": ({"bits": 3}, {"rerank": N}),
    "falconn": ({"hash_bits": 4, "tables": 2}, {"probes_per_table": 16}),
    "kdtree": ({}, {"eps": 0.0}),
    "scann": ({"lists": 7}, {"probes": 7, "rerank": N}),
}
THOROUGH: dict[str, dict[str, Any]] = {"faiss_hnsw": {"ef": N}, "hnswlib": {"ef": N}, "usearch": {"ef": N}}
UNREPEATABLE = ("scann",)  # it takes no seed
SEEDED = ("faiss_ivf", "faiss_lsh", "falconn", "hamming", "hnswlib", "minhash")
DISCRETE = ("hamming", "minhash")  # they take codes of 0 and 1 alone
BY_JACCARD = ("minhash",)  # ranks by another distance than the one that it returns
OWN_OBJECTS = ("minhash",)  # Python's objects, several times what the method stores

every_engine = pytest.mark.parametrize("name", ENGINES)


def normal(n: int, d: int = D, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def vectors_for(name: str, n: int, d: int = D, seed: int = 0) -> np.ndarray:
    """Normal vectors, or of an engine of codes the signs of such."""
    values = normal(n, d, seed)
    return (values > 0).astype(np.float32) if name in DISCRETE else values


def build(name: str, base: np.ndarray, threads: int = 1, **params: Any) -> Engine:
    """The engine over the base with these build parameters, or with those for few vectors."""
    kind = ENGINES[name]
    reason = kind.unavailable()
    if reason is not None:
        # An optional package that is not installed, or a CPU that the engine does not serve.
        pytest.skip(f"{name}: {reason}")
    return kind.build(base, make_params(name, kind.build_params, params or SMALL.get(name, {}), base.shape), threads)


def default_query(name: str) -> Any:
    return ENGINES[name].query_params()


def true_distances(queries: np.ndarray, base: np.ndarray) -> np.ndarray:
    """(q, n) in float64."""
    return ((queries[:, None].astype(np.float64) - base[None].astype(np.float64)) ** 2).sum(axis=2)


def check_answer(
    base: np.ndarray, queries: np.ndarray, k: int, answer: tuple[np.ndarray, np.ndarray], is_ascending: bool = True
) -> None:
    """Shapes, types, padding, order and distances as the contract wants them."""
    rows, distances = answer
    assert rows.shape == distances.shape == (len(queries), k)
    assert (rows.dtype, distances.dtype) == (np.int64, np.float32)
    assert ((rows >= -1) & (rows < len(base))).all()
    is_found = rows >= 0
    assert (np.diff(is_found.astype(int), axis=1) <= 0).all()  # padding stands at the end
    assert np.isposinf(distances[~is_found]).all()
    assert all(len(set(row[row >= 0].tolist())) == np.count_nonzero(row >= 0) for row in rows)
    true = np.take_along_axis(true_distances(queries, base), np.maximum(rows, 0), axis=1)
    np.testing.assert_allclose(distances[is_found], true[is_found], rtol=1e-4, atol=1e-4)
    assert not is_ascending or (distances[:, 1:] >= distances[:, :-1]).all()


@every_engine
@pytest.mark.parametrize("q", [0, 1, 2, Q])
@pytest.mark.parametrize("k", [1, 10, N])
def test_engine_answers_by_the_contract(name: str, q: int, k: int) -> None:
    base, queries = vectors_for(name, N), vectors_for(name, q, seed=1)
    check_answer(base, queries, k, build(name, base).search(queries, k, default_query(name)), name not in BY_JACCARD)


@every_engine
@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 60), d=st.integers(1, 9), q=st.integers(1, 9), seed=st.integers(0, 10**6), data=st.data())
def test_engine_answers_by_the_contract_whatever_is_tied(
    name: str, n: int, d: int, q: int, seed: int, data: st.DataObject
) -> None:
    n = max(n, LEAST_VECTORS.get(name, 1))
    rng = np.random.default_rng(seed)
    values = (0, 2) if name in DISCRETE else (-1, 3)  # few different points: ties everywhere
    base = rng.integers(*values, (n, d)).astype(np.float32)
    queries = rng.integers(*values, (q, d)).astype(np.float32)
    k = data.draw(st.integers(1, n))
    params = {"hash_bits": 1} if name == "falconn" else {}
    answer = build(name, base, **params).search(queries, k, default_query(name))
    check_answer(base, queries, k, answer, name not in BY_JACCARD)


@every_engine
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_engine_takes_equal_vectors(name: str, value: float) -> None:
    base = np.full((N, D), value, np.float32)
    answer = build(name, base).search(base[:3], N, default_query(name))
    check_answer(base, base[:3], N, answer)
    assert (answer[0][:, 0] >= 0).all()


@pytest.mark.parametrize("name", [name for name in ENGINES if name not in LEAST_VECTORS])
def test_engine_takes_a_single_vector(name: str) -> None:
    base = vectors_for(name, 1)
    rows, distances = build(name, base, **({"hash_bits": 1} if name == "falconn" else {})).search(
        base, 1, default_query(name)
    )
    assert (rows.tolist(), distances.tolist()) == ([[0]], [[0.0]])


@pytest.mark.parametrize("name", COMPLETE)
def test_engine_that_looks_at_everything_is_exact(name: str) -> None:
    base, queries = normal(N), normal(Q, seed=1)
    build_params, query_params = COMPLETE[name]
    engine = build(name, base, **build_params)
    rows, distances = engine.search(queries, N, ENGINES[name].query_params(**query_params))
    check_answer(base, queries, N, (rows, distances))
    true = true_distances(queries, base)
    np.testing.assert_array_equal(rows[:, :20], np.argsort(true, axis=1)[:, :20])
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.tile(np.arange(N), (Q, 1)))


@pytest.mark.parametrize("name", THOROUGH)
def test_graph_searched_thoroughly_misses_hardly_anything(name: str) -> None:
    base, queries = normal(N), normal(Q, seed=1)
    rows, _ = build(name, base).search(queries, 10, ENGINES[name].query_params(**THOROUGH[name]))
    nearest = np.argsort(true_distances(queries, base), axis=1)[:, :10]
    assert np.mean([np.isin(true, found) for true, found in zip(nearest, rows, strict=True)]) >= 0.99


@every_engine
def test_engine_answers_alike_alone_in_batch_and_with_threads(name: str) -> None:
    base, queries = vectors_for(name, N), vectors_for(name, Q, seed=1)
    engine, query = build(name, base), default_query(name)
    rows, distances = engine.search(queries, 10, query)
    for threads in (2, 3):
        np.testing.assert_array_equal(engine.search(queries, 10, query, threads)[0], rows)
    for place in range(3):
        alone = engine.search(queries[place : place + 1], 10, query)
        np.testing.assert_array_equal(alone[0][0], rows[place])
        np.testing.assert_allclose(alone[1][0], distances[place], rtol=1e-5)


@every_engine
def test_engine_built_with_threads_answers_by_the_contract(name: str) -> None:
    base, queries = vectors_for(name, N), vectors_for(name, Q, seed=1)
    answer = build(name, base, threads=2).search(queries, 10, default_query(name), 2)
    check_answer(base, queries, 10, answer, name not in BY_JACCARD)


@pytest.mark.parametrize("name", [name for name in ENGINES if name not in UNREPEATABLE])
def test_engine_built_twice_by_one_thread_answers_alike(name: str) -> None:
    base, queries = vectors_for(name, 1000), vectors_for(name, Q, seed=1)
    first, second = (build(name, base).search(queries, 10, default_query(name)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])


@pytest.mark.parametrize("name", SEEDED)
def test_engine_of_another_seed_answers_otherwise(name: str) -> None:
    base, queries = vectors_for(name, 1000), vectors_for(name, Q, seed=1)
    hard = {
        "faiss_ivf": ({"lists": 50}, {"probes": 2}),
        "faiss_lsh": ({"bits": 8}, {"rerank": 20}),
        "falconn": ({"tables": 1, "hash_bits": 8}, {"probes_per_table": 2}),
        "hamming": ({}, {}),
        "hnswlib": ({"links": 2, "ef_construction": 4}, {"ef": 1}),
        "minhash": ({"permutations": 16, "threshold": 0.7}, {}),
    }[name]
    query = ENGINES[name].query_params(**hard[1])
    first, second = (build(name, base, seed=seed, **hard[0]).search(queries, 10, query)[0] for seed in (1, 2))
    assert (first != second).any()


@every_engine
def test_engine_leaves_base_and_queries_as_they_are(name: str) -> None:
    base, queries = vectors_for(name, N), vectors_for(name, Q, seed=1)
    base.setflags(write=False)
    queries.setflags(write=False)
    engine = build(name, base)
    engine.search(queries, 5, default_query(name))
    engine.candidates(queries, 5, default_query(name))
    np.testing.assert_array_equal(base, vectors_for(name, N))
    np.testing.assert_array_equal(queries, vectors_for(name, Q, seed=1))


@every_engine
def test_engine_refuses_queries_and_parameters_that_do_not_fit(name: str) -> None:
    engine, query = build(name, vectors_for(name, N)), default_query(name)
    for wrong, k, threads, message in (
        (vectors_for(name, 2, D + 1), 1, 1, f"{name}: queries have 13 dimensions, the index has 12"),
        (vectors_for(name, 2), 0, 1, f"{name}: k = 0; allowed is 1 to 300"),
        (vectors_for(name, 2), N + 1, 1, "k = 301"),
        (vectors_for(name, 2), 1, 0, "threads = 0"),
        (vectors_for(name, 2).astype(np.float64), 1, 1, "float64"),
        (np.full((2, D), np.nan, np.float32), 1, 1, "NaN"),
    ):
        with pytest.raises(SearchError, match=message):
            engine.search(wrong, k, query, threads)
    for field in dataclasses.fields(query):
        impossible = dataclasses.replace(query, **{field.name: type(getattr(query, field.name))(-2)})
        with pytest.raises(SearchError, match=rf"{name}: {field.name} = -2"):
            engine.search(vectors_for(name, 2), 1, impossible)


@every_engine
def test_engine_refuses_a_base_and_parameters_that_do_not_fit(name: str) -> None:
    kind = ENGINES[name]
    params = build(name, vectors_for(name, N)) and make_params(name, kind.build_params, SMALL.get(name, {}), (N, D))
    for wrong, threads, message in (
        (np.zeros((0, D), np.float32), 1, "the base is empty"),
        (vectors_for(name, N).astype(np.float64), 1, "float64"),
        (np.full((N, D), np.inf, np.float32), 1, "infinite"),
        (vectors_for(name, N), 0, "threads = 0"),
    ):
        with pytest.raises(SearchError, match=f"^{name}: .*{message}"):
            kind.build(wrong, params, threads)
    for field in dataclasses.fields(params):
        if field.type is bool:  # neither value is impossible
            continue
        value = "no" if isinstance(getattr(params, field.name), str) else type(getattr(params, field.name))(-2)
        with pytest.raises(SearchError, match=f"{name}: .*{field.name} = "):
            kind.build(vectors_for(name, N), dataclasses.replace(params, **{field.name: value}), 1)


@every_engine
@pytest.mark.parametrize("shape", [(1000, 8), (3000, 64)])
def test_index_is_as_large_as_its_formula_says(name: str, shape: tuple[int, int]) -> None:
    kind = ENGINES[name]
    params = make_params(name, kind.build_params, SMALL.get(name, {}), shape)
    engine = build(name, vectors_for(name, *shape))
    expected = kind.theoretical_bytes(*shape, params)
    if name in OWN_OBJECTS:
        assert engine.size_bytes() > expected
    else:
        assert engine.size_bytes() == pytest.approx(expected, rel=0.1)
    more = kind.theoretical_bytes(shape[0] * 2, shape[1], params)
    assert more > expected or name == "exact"


@every_engine
def test_candidates_are_counted_for_each_query_or_not_at_all(name: str) -> None:
    engine, queries = build(name, vectors_for(name, N)), vectors_for(name, Q, seed=1)
    counts = engine.candidates(queries, 5, default_query(name))
    if counts is not None:
        assert (counts.shape, counts.dtype) == ((Q,), np.int64)
        assert ((counts >= 0) & (counts <= N)).all()


@every_engine
def test_nothing_to_prepare_changes_no_answer(name: str) -> None:
    base, queries = vectors_for(name, N), vectors_for(name, Q, seed=1)
    engine, query = build(name, base), default_query(name)
    before = engine.search(queries, 10, query)[0]
    assert isinstance(engine.prepare(10, query), dict)
    np.testing.assert_array_equal(engine.search(queries, 10, query)[0], before)


@every_engine
def test_build_can_be_sent_to_a_worker(name: str) -> None:
    kind = ENGINES[name]
    assert pickle.loads(pickle.dumps(kind.build)) is kind.build  # noqa: S301 - our own function, pickled just now
    assert pickle.loads(pickle.dumps(kind.query_params())) == kind.query_params()  # noqa: S301 - as above


@pytest.mark.parametrize(
    ("name", "package", "remedy"),
    [
        *((name, name, "[engines]'`, or take another engine.") for name in ("hnswlib", "scann", "usearch")),
        ("minhash", "datasketch", "[methods]'`, or leave out what needs it."),
    ],
)
def test_engine_without_its_package_says_what_to_install(
    name: str, package: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    kind = ENGINES[name]
    message = f"the package {package} is not installed. Run `pip install 'ris-bench{remedy}"
    assert kind.unavailable() == message
    with pytest.raises(SearchError) as caught:
        kind.build(normal(N), kind.build_params(), 1)
    assert str(caught.value) == f"{name}: {message}"


def test_package_that_is_there_is_not_missing() -> None:
    assert missing_package("numpy") is None


@dataclasses.dataclass(frozen=True)
class _Ranged:
    low: int = 0
    high: float = 9.5
    fine: int = 3


def test_range_faults_name_value_range_and_remedy() -> None:
    assert range_faults(_Ranged(), low=(1, None), high=(0, 9), fine=(3, 3)) == [
        "low = 0; allowed: 1 or more. Raise it.",
        "high = 9.5; allowed: 0 to 9. Lower it.",
    ]
    assert range_faults(_Ranged(high=float("nan")), high=(0, None)) == ["high = nan; allowed: 0 or more. Lower it."]
