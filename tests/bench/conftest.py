"""Tables of imaginary runs, written as `bench.tables.table` writes them: no stage has to run to draw a page.

Long because pytest shares fixtures through this file alone: one run over backbones, one over engines and sizes.
"""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.__main__ import main
from bench.results import BuildResult, QueryResult, RunRecord, write_result, write_run
from bench.running import run_suite
from bench.tables.cheapest_table import cheapest_table
from bench.tables.difference_table import difference_table, published_differences
from bench.tables.difficulty_table import DataFacts
from bench.tables.growth_table import growth_points, growth_table
from bench.tables.provenance_table import provenance_table
from bench.tables.rank_table import rank_table
from bench.tables.ranking import ranking_table
from bench.tables.table import build_tables, typed, write_table
from bench.tables.table_schemas import SCHEMAS

BACKBONES = {"tiny": 0.86, "mini": 0.74, "colour": 0.62}
CELLS = {"exact": "{}/exact/corrected/single", "falconn": "{}/falconn/cross_polytope-5-12/20/corrected/single"}
PUBLISHED = {
    "easy": (0.923, 0.912, 0.936, 0.951),
    "medium": (0.568, 0.596, 0.63, 0.612),
    "hard": (0.095, 0.11, 0.14, 0.145),
}
MODELS = [f"published_{name}" for name in ("tiny", "tiny_longer", "small", "small_pretrained")]
STRATA = {"easy": (100, 10, 1.0), "medium": (50, 20, 0.62), "hard": (20, 10, 0.25)}


def query_cells(backbones: tuple[str, ...] = tuple(BACKBONES)) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for backbone in backbones:
        for space in ("corrected", "as_published"):
            for mode in ("single", "batch"):
                speed = 1.0 if mode == "single" else 0.6
                rows.append(_cell(backbone, ("exact", "", None, None, None), space, mode, 2.1 * speed, 1.0))
                for family in ("cross_polytope", "hyperplane"):
                    for tables in (5, 20):
                        for probes in (1, 20):
                            work = tables * probes / (1 if family == "cross_polytope" else 0.8)
                            recall = 1 - np.exp(-((work / 60) ** 0.7)) - (0.25 if space == "as_published" else 0)
                            ms = (0.04 + work * 0.004) * speed * rng.uniform(0.9, 1.1)
                            engine = ("falconn", family, tables, 12, probes)
                            rows.append(_cell(backbone, engine, space, mode, ms, max(0.02, recall)))
    return pd.DataFrame(rows)


def sized_cells(sizes: tuple[int, ...] = (1000, 2000, 4000)) -> pd.DataFrame:
    """The first backbone's cells at several sizes, times growing with n."""
    cells = query_cells(tuple(BACKBONES)[:1])
    return pd.concat(
        [cells.assign(backbone=f"tiny-n{n}", n=n, query_ms_median=cells["query_ms_median"] * n / 4000) for n in sizes],
        ignore_index=True,
    )


def _cell(backbone: str, engine: tuple, space: str, mode: str, ms: float, recall: float) -> dict:
    name, family, tables, bits, probes = engine
    settings = "-".join(str(part) for part in (family, tables, bits) if part)
    return {
        "cell": "/".join(str(p) for p in (backbone, name, settings, probes, space, mode) if p),
        "backbone": backbone, "engine": name, "kind": name, "family": family, "tables": tables, "hash_bits": bits,
        "hash_functions": 2 if tables else None, "last_cp_dimension": 16 if family == "cross_polytope" else None,
        "probes_per_table": probes, "other_params": "", "space": space, "mode": mode, "threads": 1,
        "n": 4000, "d": 128, "k": 100, "q": 500,
        "build_s": 0.01 + 0.02 * (tables or 0), "size_bytes": 16000 * (tables or 0),
        "query_ms_median": ms, "query_ms_mean": ms * 1.05, "query_ms_p95": ms * 1.4 if mode == "single" else None,
        "query_ms_p99": ms * 1.9 if mode == "single" else None, "queries_per_s": 1000 / ms,
        "recall": recall, "recall_ci_low": max(0, recall - 0.02), "recall_ci_high": min(1, recall + 0.02),
        "recall_ids": recall, "candidates": None if name == "exact" else 40.0 * probes,
        "shorter_than_k_frac": 0.0 if recall > 0.3 else 0.4,
        "query_ms_ci_low": ms * 0.97, "query_ms_ci_high": ms * 1.03,
        "precision_easy": 0.8, "precision_medium": 0.5, "precision_hard": 0.2, "status": "ok", "reason": "",
        "setting": f"tables={tables} hash_bits={bits} probes_per_table={probes}" if tables else "",
        "build_setting": f"tables={tables} hash_bits={bits}" if tables else "",
    }  # fmt: skip


def precisions(backbones: tuple[str, ...] = tuple(BACKBONES)) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(1)
    concepts = ["Field with street", "plain_field", "dense_wood", "wave_water", "<b>village</b>"]
    rows = []
    for stratum, (depth, queries, ease) in STRATA.items():
        for engine in ("random", "ceiling", "exact", "falconn"):
            for backbone in ("",) if engine in ("random", "ceiling") else backbones:
                bounds = {"random": 0.08, "ceiling": 1.0 if stratum != "hard" else 0.9 / ease}
                level = bounds.get(engine) or BACKBONES[backbone] * (1 if engine == "exact" else 0.93)
                for query in range(queries):
                    found = rng.binomial(depth, min(1, level * ease))
                    rows.append({
                        "stratum": stratum, "depth": depth, "query_id": 1000 + query, "concept": concepts[query % 5],
                        "backbone": backbone, "engine": engine, "cell": CELLS.get(engine, "").format(backbone),
                        "space": "corrected" if backbone else "",
                        "found": found, "precision": found / depth, "relevant_in_corpus": 300,
                    })  # fmt: skip
    each = pd.DataFrame(rows)
    groups = each.groupby(["stratum", "depth", "backbone", "engine", "cell", "space"], sort=False)["precision"]
    mean = groups.agg(queries="size", precision="mean", std="std").reset_index()
    half = 1.96 * mean.pop("std") / np.sqrt(mean["queries"])
    mean[MODELS] = [PUBLISHED[stratum] for stratum in mean["stratum"]]
    mean["ci_low"], mean["ci_high"] = (mean["precision"] - half).clip(0), (mean["precision"] + half).clip(upper=1)
    return each, mean


def losses() -> pd.DataFrame:
    rows = [
        {
            "backbone": backbone, "epoch": epoch, "loss": 6.9 * np.exp(-epoch / (20 if backbone == "tiny" else 30)) + 1,
            "lr": 5e-4, "weight_decay": 0.04, "teacher_entropy": 6.5 - 0.1 * epoch, "kl": 0.3,
            "images_per_s": 180.0, "epoch_s": 22.0, "mfu": 0.3,
            "knn_20": BACKBONES[backbone] - 0.3 / (epoch + 1) if epoch % 2 else None,
        }
        for backbone in ("tiny", "mini") for epoch in range(6)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**dict.fromkeys(MODELS, 5.0))


def runtimes() -> pd.DataFrame:
    rows = []
    for backbone in BACKBONES:
        for engine, quantity, unit, seconds in (
            ("", "extract_features", "s", 20.0),
            ("falconn", "build_lsh_index", "s", 0.21),
            ("falconn", "query_lsh_index_k100", "ms_per_query", 0.3),
            ("exact", "query_exact_k100", "ms_per_query", 2.1),
        ):
            rows.append({
                "quantity": quantity, "unit": unit, "backbone": backbone, "engine": engine,
                "cell": f"{backbone}/{engine}", "median": seconds, "mean": seconds * 1.05, "q1": seconds * 0.96,
                "q3": seconds * 1.1, "min": seconds * 0.9,
                "ci_low": seconds * 0.97, "ci_high": seconds * 1.04, "processes": 2,
                "rounds": 5, "n": 4000, "published_tiny": 481.0 if quantity == "extract_features" else None,
            })  # fmt: skip
    return pd.DataFrame(rows)


def models() -> pd.DataFrame:
    return pd.DataFrame([
        {"backbone": name, "model": "vit_tiny_patch16_224", "weights": "dino" if name in ("tiny", "mini") else "random",
         "parameters": 1_234_567, "d": 128, "tiles": 4000, "train_epochs": 6 if name in ("tiny", "mini") else None,
         "train_s": 132.0 if name in ("tiny", "mini") else None, "epoch_s": 22.0, "final_loss": 5.3, "extract_s": 20.0,
         "tiles_per_s": 200.0, "norm_mean": 11.0, "norm_std": 1.2, "knn_20": level, "knn_10": level - 0.01,
         "train_tiles": 2000 if name in ("tiny", "mini") else None,
         "knn_20_start": level - 0.3 if name in ("tiny", "mini") else None}
        for name, level in BACKBONES.items()
    ])  # fmt: skip


def over_lid() -> pd.DataFrame:
    """Recall of every approximate setting, falling with LID."""
    cells = query_cells()
    cells = cells[(cells["engine"] == "falconn") & (cells["mode"] == "single") & (cells["space"] == "corrected")]
    rows = []
    for cell in cells.to_dict("records"):
        names = {name: cell[name] for name in ("cell", "backbone", "engine", "space", "mode", "threads", "k")}
        for number in range(8):
            lid = 4 + 2 * number + len(cell["backbone"])
            recall = max(0.05, cell["recall"] ** (0.4 + 0.1 * lid))
            rows.append({**names, "bin": number, "lid_low": lid - 1, "lid_high": lid + 1, "lid_mean": lid,
                         "queries": 62, "recall": recall, "ci_low": recall - 0.03,
                         "ci_high": min(1, recall + 0.03)})  # fmt: skip
    return pd.DataFrame(rows)


def by_difficulty() -> pd.DataFrame:
    """Thirds of LID, of the bins of `over_lid`."""
    bins = over_lid().assign(kind="lid", group=lambda t: t["bin"].map(lambda b: ("low", "middle", "high")[b // 3]))
    keys = ["cell", "backbone", "engine", "space", "mode", "threads", "k", "kind", "group"]
    return bins.groupby(keys, sort=False, as_index=False).agg({"queries": "sum", "recall": "mean", "lid_low": "min"})


def geometry() -> pd.DataFrame:
    return pd.DataFrame([{"backbone": name, "set": "timed", "k": 100, "queries": 500, "lid_missing": 4,
                          "lid_mean": 12.0, "tied_frac": 0.01} for name in BACKBONES])  # fmt: skip


def leakage() -> pd.DataFrame:
    """Each score three times: less is left the more tiles are left out."""
    rows = []
    for backbone, level in BACKBONES.items():
        for engine, cell in CELLS.items():
            names = {"cell": cell.format(backbone), "backbone": backbone, "engine": engine, "space": "corrected",
                     "mode": "single", "threads": 1, "k": 100}  # fmt: skip
            recall = 1.0 if engine == "exact" else 0.9
            scores = {"recall@100": (recall, 500), "precision easy@100": (level * recall, 10),
                      "precision medium@50": (level * recall * 0.62, 20),
                      "precision hard@20": (level * recall * 0.25, 10)}  # fmt: skip
            for score, (mean, queries) in scores.items():
                for exclude, change in (("self", None), ("overlap", -0.06), ("block", -0.1)):
                    here = mean + (0 if score.startswith("recall") else change or 0)
                    half = 0.5 / np.sqrt(queries)
                    rows.append({**names, "score": score, "exclude": exclude, "queries": queries, "mean": here,
                                 "ci_low": here - half, "ci_high": here + half, "difference": change})  # fmt: skip
    return pd.DataFrame(rows)


def classes() -> pd.DataFrame:
    """Two classes and both together, of each backbone and engine."""
    rows = []
    for backbone, level in BACKBONES.items():
        for engine, cell in CELLS.items():
            for name, ease, queries in (("all", 0.9, 50), ("field_with_street", 1.0, 30), ("water", 0.8, 20)):
                rows.append({"backbone": backbone, "engine": engine, "cell": cell.format(backbone), "class": name,
                             "queries": queries, "depth": 10, "accuracy": level * ease, "ci_low": level * ease - 0.05,
                             "ci_high": level * ease + 0.05, "query_ms_median": 0.3})  # fmt: skip
    return pd.DataFrame(rows)


def paired(score: str, before: str, level: float, gain: float, verdict: str) -> dict[str, Any]:
    """The columns of one score that is held against another, as `bench.tables.paired_scores` names them."""
    return {score: level + gain, f"{score}_ci_low": level + gain - 0.05, f"{score}_ci_high": level + gain + 0.05,
            f"{score}_{before}": level, f"{score}_difference": gain, f"{score}_difference_ci_low": gain - 0.03,
            f"{score}_difference_ci_high": gain + 0.03, f"{score}_p_holm": 0.01 if verdict else None,
            f"{score}_verdict": verdict}  # fmt: skip


def systems() -> pd.DataFrame:
    """Of each backbone exact search and FALCONN; the first is what the others are held against."""
    rows = []
    for number, ((backbone, level), (engine, cell)) in enumerate(itertools.product(BACKBONES.items(), CELLS.items())):
        for stratum, (depth, queries, ease) in STRATA.items():
            rows.append({"system": f"s{number}", "title": f"{backbone} + {engine}", "backbone": backbone,
                         "engine": engine, "taught_by": "labels" if backbone == "mini" else "tiles",
                         "cell": cell.format(backbone), "stratum": stratum, "depth": depth, "n": 4000,
                         "queries": queries, "precision": level * ease, "ci_low": level * ease - 0.05,
                         "ci_high": level * ease + 0.05, "query_ms_median": 0.1 + number, "answer_ms": 5.1 + number,
                         "p_holm": 0.2 if number else None,
                         "verdict": "no difference shown" if number else ""})  # fmt: skip
    return pd.DataFrame(rows)


def reranking() -> pd.DataFrame:
    """A re-ranker that gains in one of its settings, and one of which no difference is shown."""
    settings = {("expansion", "top=50"): (0.1, "gains"), ("expansion", "top=20"): (0.02, "no difference shown"),
                ("diffusion", "top=50"): (0.01, "no difference shown")}  # fmt: skip
    return pd.DataFrame([
        {"cell": f"{backbone}/exact/rerank-{name}-{words}/single-1t", "backbone": backbone, "engine": "exact",
         "rerank": name, "rerank_kind": name, "parameters": words, "n": 4000, "stratum": stratum, "queries": queries,
         "search_ms": 2.0, "rerank_ms": 3.0 + 40 * gain, "offline_s": 0.0, "size_bytes": 0, "status": "ok",
         **paired("precision", "before", level * ease / 2, gain, verdict),
         **paired("average_precision", "before", level * ease / 3, gain, verdict)}
        for backbone, level in [("tiny", 0.86)]
        for stratum, (_, queries, ease) in STRATA.items()
        for (name, words), (gain, verdict) in settings.items()
    ])  # fmt: skip


def regions() -> pd.DataFrame:
    """Whole pictures, and windows in two settings: one gains."""
    settings = {("whole", ""): (0.0, "", 0.0), ("windows", "sizes=0.5"): (0.1, "gains", 9.0),
                ("windows", "sizes=0.3"): (-0.01, "no difference shown", 16.0)}  # fmt: skip
    return pd.DataFrame([
        {"cell": f"{backbone}/exact/regions-{name}-{words}/single-1t", "backbone": backbone, "engine": "exact",
         "regions": name, "source": name, "parameters": words, "n": 4000, "stratum": stratum, "queries": queries,
         "crops": crops, "query_ms": 5 + crops, "status": "ok",
         **paired("precision", "whole", level * ease / 2, gain, verdict)}
        for backbone, level in [("tiny", 0.86), ("mini", 0.74)]
        for stratum, (_, queries, ease) in STRATA.items()
        for (name, words), (gain, verdict, crops) in settings.items()
    ]).assign(precision_difference=lambda t: t["precision_difference"].where(t["regions"] != "whole"))  # fmt: skip


def region_times() -> pd.DataFrame:
    return pd.DataFrame([
        {"backbone": backbone, "engine": "exact", "source": "windows" if crops else "whole", "n": 4000, "crops": crops,
         "corpus_s": 20.0, "tiles_per_s": 200.0, "descriptor_bytes": 2_048_000, "queries": 40, "find_ms": 0.01,
         "describe_ms": 4.0 + crops, "search_ms": 0.2 + 0.1 * crops, "merge_ms": 0.02, "query_ms": 4.3 + 1.1 * crops}
        for backbone in ("tiny", "mini") for crops in (0, 9, 16)
    ])  # fmt: skip


def revisited() -> pd.DataFrame:
    """Exact search and re-ranking of its answers, and two settings of FALCONN."""
    searchers = {("exact", ""): 1.0, ("exact", "expansion"): 1.05, ("falconn 5 20", ""): 0.9, ("falconn 5 1", ""): 0.4}
    return pd.DataFrame([
        {"setup": setup, "backbone": backbone, "engine": setting.split()[0], "setting": setting, "rerank": rerank,
         "cell": f"{backbone}/{setting}/{rerank}", "space": "corrected", "n": 4000, "distractors": 3000,
         "queries": queries, "map": level * ease * part, "map_ci_low": level * ease * part - 0.04,
         "map_ci_high": level * ease * part + 0.04, "published_mp_at_10": level * ease}
        for backbone, level in BACKBONES.items()
        for setup, (_, queries, ease) in STRATA.items()
        for (setting, rerank), part in searchers.items()
    ])  # fmt: skip


def hygiene() -> pd.DataFrame:
    fields = {"of": 4000, "backbone": "", "groups": None}
    rows = [
        {"about": "identical tiles", "count": 0, "consequence": "No two of the 4,000 tiles are identical."},
        {"about": "overlapping tiles", "count": 3900, "consequence": "3,900 of 4,000 tiles <share> ground."},
        *({"about": "tied queries", "backbone": name, "of": 500, "count": number, "consequence": f"{number} are tied."}
          for number, name in enumerate(BACKBONES)),
    ]  # fmt: skip
    return pd.DataFrame([{**fields, **row} for row in rows]).assign(frac=lambda t: t["count"] / t["of"])


def write_all(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    each, mean = precisions()
    cells = typed(query_cells().reindex(columns=list(SCHEMAS["lsh_parameters"])), "lsh_parameters", "")
    cheapest = typed(cheapest_table(cells), "cheapest_settings", "")
    sized = typed(sized_cells().reindex(columns=cells.columns), "lsh_parameters", "")
    points = growth_points(sized)
    frames = {
        "lsh_parameters": cells, "nn_precision": each, "nn_precision_averages": mean,
        "differences": difference_table(searchers(each), {name: depth for name, (depth, _, _) in STRATA.items()}),
        "published_differences": published_differences({"easy": 100}), "exact_or_lsh": exact_or_lsh(each),
        "ranking": ranking_table(cells),
        "cheapest_settings": cheapest, "engine_ranks": rank_table(cheapest),
        "growth_points": points, "growth": growth_table(points, sized, pd.DataFrame(columns=["backbone", "set"]), {}),
        "losses": losses(), "runtimes": runtimes(), "models": models(),
        "recall_over_lid": over_lid(), "recall_by_difficulty": by_difficulty(), "query_geometry": geometry(),
        "spatial_leakage": leakage(), "data_hygiene": hygiene(), "class_accuracy": classes(),
        "systems": systems(), "reranking": reranking(), "regions": regions(), "region_times": region_times(),
        "revisited": revisited(),
    }  # fmt: skip
    for name, columns in SCHEMAS.items():
        frame = frames.get(name, pd.DataFrame())
        write_table(frame.reindex(columns=list(columns)), folder, name, f"Imaginary {name}.")
    return folder


def exact_or_lsh(each: pd.DataFrame) -> pd.DataFrame:
    """Of each backbone and stratum what exact search found and its one approximate setting."""
    means = each.groupby(["stratum", "depth", "backbone", "engine"], sort=False)["precision"].mean().unstack("engine")
    bounds = means.xs("", level="backbone")[["random", "ceiling"]]
    rows = means.drop("", level="backbone")[["exact", "falconn"]].join(bounds, on=["stratum", "depth"]).reset_index()
    rows = rows.rename(columns={"falconn": "lsh"}).assign(engine="falconn", as_published=lambda t: t["lsh"] / 2)
    losses = {"model": ("ceiling", "exact"), "index": ("exact", "lsh"), "slip": ("lsh", "as_published")}
    for short, (more, less) in losses.items():
        lost = rows[more] - rows[less]
        rows = rows.assign(
            **{f"lost_by_{short}": lost, f"{short}_ci_low": lost - 0.02, f"{short}_ci_high": lost + 0.02}
        )
    cells = [CELLS["falconn"].format(backbone) for backbone in rows["backbone"]]
    intervals = {f"lsh_ci_{end}": rows["lsh"] + half for end, half in (("low", -0.1), ("high", 0.1))}
    return rows.assign(
        **intervals, cell=cells, setting="falconn 5-12 20", queries=rows["stratum"].map(lambda s: STRATA[s][1])
    )


def searchers(each: pd.DataFrame) -> list[QueryResult]:
    """Query cells that found what the table ``nn_precision`` says; raw, a quarter less recall, half the precision."""
    rng = np.random.default_rng(2)
    results = []
    for (backbone, engine, cell), part in each[each["cell"] != ""].groupby(["backbone", "engine", "cell"], sort=False):
        found = rng.binomial(100, 1.0 if engine == "exact" else 0.9, 50) / 100
        precision = {name: own["precision"].tolist() for name, own in part.groupby("stratum", sort=False)}
        fields = {"backbone": backbone, "engine": engine, "kind": engine, "params": {}, "query_params": {},
                  "mode": "single", "threads": 1, "k": 100}  # fmt: skip
        raw, halved = cell.replace("corrected", "as_published"), {n: [p / 2 for p in v] for n, v in precision.items()}
        results += [
            QueryResult(cell=cell, space="corrected", recall_at_k=found.tolist(), precision=precision, **fields),
            QueryResult(
                cell=raw, space="as_published", recall_at_k=(found - 0.25).tolist(), precision=halved, **fields
            ),
        ]
    return results


MACHINE = {
    "cpu": {
        "model": "Abacus 3000", "architecture": "x86_64", "flags": ["avx2"], "physical_cores": 2, "logical_cores": 2,
        "usable_cores": 2, "governor": None,
    },
    "memory_gib": 8.0, "load_average": [0.1, 0.1, 0.1], "system": "Linux", "kernel": "6.1", "python": "CPython 3.11",
    "versions": {"numpy": "2.0"}, "blas": [], "gpu": None, "commit": {"hash": "0123456789abcdef", "dirty": False},
}  # fmt: skip


def run_record(**changes: object) -> RunRecord:
    suite = {
        "name": "imaginary",
        "about": {"title": "An <script>alert(1)</script> run", "purpose": "R&D", "source": "", "expected": ""},
        "corpus": {"source": "scene", "tile_px": 64, "train_frac": 0.5},
        "backbones": [{"name": name, "recipe": None, "spec": {"model": "colour"}} for name in BACKBONES],
        "engines": [{"name": "exact"}, {"name": "falconn"}],
        "queries": {"count": 500, "k": 100},
    }
    fields = {
        "run_id": "first", "suite_name": "imaginary", "suite_file": "/home/someone/suites/imaginary.toml",
        "suite_text": 'title = "<b>&"', "suite": suite, "version": "0.1.0", "machine": MACHINE,
        "corpus": {"source": "scene", "tiles_key": "abc", "tiles": 8000, "trained": 4000, "indexed": 4000},
        "cells": ["tiny/falconn/build-1t", "tiny/<i>broken</i>/build-1t", "tiny/falconn/never"],
        "started": "2026-11-21T10:00:00+00:00", "finished": "2026-11-21T10:10:00+00:00", "status": "failed",
    }  # fmt: skip
    return RunRecord(**{**fields, **changes})


def build(cell: str, **changes: object) -> BuildResult:
    return BuildResult(**{"cell": cell, "backbone": "tiny", "engine": "falconn", "kind": "falconn", "params": {},
                          "threads": 1, "n": 4000, "build_s": [[0.2]], **changes})  # fmt: skip


@pytest.fixture
def run_folder(tables: Path) -> Path:
    """A run of which one cell failed and one was never measured, tables written, no report yet."""
    return write_cells(tables.parent)


@pytest.fixture(scope="session")
def whole_run_folder(whole_tables: Path) -> Path:
    """The same with nothing to change."""
    return write_cells(whole_tables.parent)


def write_cells(folder: Path) -> Path:
    write_run(folder, run_record())
    write_result(folder, build("tiny/falconn/build-1t"))
    write_result(folder, build("tiny/<i>broken</i>/build-1t", status="failed", reason="no room for <20 bits>"))
    write_table(provenance_table(run_record(), []), folder / "tables", "provenance")
    return folder


@pytest.fixture(scope="session")
def whole_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not write here."""
    return write_all(tmp_path_factory.mktemp("run") / "tables")


@pytest.fixture
def tables(whole_tables: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(whole_tables, tmp_path / "tables"))


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes runs of one index: its build, single and batch queries, in two processes, with a percent of noise.

    ``build``, ``single`` and ``batch`` change fields of these cells, or leave one out (None); ``slower`` multiplies all
    times; further arguments change the run's record.
    """
    cells = {name: f"tiny/falconn/{name}-1t" for name in ("build", "single", "batch")}

    def make(run_id: str, slower: float = 1.0, **changes: Any) -> Path:
        rng = np.random.default_rng([ord(letter) for letter in run_id])
        ms = np.random.default_rng(0).lognormal(0, 1, 200)  # some queries are harder than others, in every run

        def times(seconds: np.ndarray) -> list[list[float]]:
            return (slower * seconds * rng.normal(1, 0.01, (2, len(seconds)))).tolist()

        memory = {"anon_growth_bytes": 40 * 2**20, "peak_rss_bytes": 300 * 2**20, "disk_bytes": None}
        index = {"backbone": "tiny", "engine": "falconn", "kind": "falconn", "params": {}, "threads": 1}
        query = {**index, "query_params": {}, "space": "corrected", "k": 10, "q": 200, "recall_at_k": [0.8, 1.0] * 100}
        results = {
            "build": (BuildResult, {**index, "build_s": times(np.full(5, 0.2)), "size_bytes": 16_000,
                                    "memory": memory}),
            "single": (QueryResult, {**query, "mode": "single", "times_s": times(ms / 1000),
                                     "precision": {"easy": [0.5, 0.9], "hard": [0.1, 0.3]}}),
            "batch": (QueryResult, {**query, "mode": "batch", "times_s": times(np.full(5, ms.sum() / 2000))}),
        }  # fmt: skip
        folder = tmp_path / run_id
        fields = {name: changes.pop(name, {}) for name in cells}
        write_run(folder, run_record(**{"run_id": run_id, "cells": list(cells.values()), **changes}))
        for name, (record, own) in results.items():
            if fields[name] is not None:
                write_result(folder, record(**{"cell": cells[name], **own, **fields[name]}))
        return folder

    return make


# Of each engine: kind, build parameters, what they cost to build (s and bytes at n = 50,000, the exponent of n of s),
# and for each query parameter the recall and the milliseconds of a single query, which grow by the last exponent.
ENGINES: dict[str, tuple[str, dict[str, Any], tuple, dict[str, list[tuple]], float]] = {
    "exact": ("exact", {}, (1e-4, 0, 0.1), {"": [(0, 1.0, 2.0)]}, 1.0),
    "falconn": ("falconn", {"family": "cross_polytope", "tables": 10}, (1.0, 2e6, 1.05),
                {"probes": [(20, 0.4, 0.3), (200, 0.7, 0.8), (2000, 0.93, 2.6), (8000, 0.97, 6.0)]}, 0.8),
    "falconn2": ("falconn", {"family": "hyperplane", "tables": 10}, (0.2, 2e6, 1.0),
                 {"probes": [(20, 0.3, 0.35), (200, 0.6, 0.9), (2000, 0.84, 2.2)]}, 0.85),
    "crosspolytope": ("crosspolytope", {"family": "cross_polytope", "tables": 8}, (0.2, 8e6, 1.0),
                      {"recall": [(0.5, 0.505, 0.06), (0.8, 0.803, 0.1), (0.9, 0.902, 0.13), (0.99, 0.991, 0.3)]}, 0.4),
    "faiss_ivf": ("faiss_ivf", {"lists": 256}, (3.0, 4e5, 1.2),
                  {"probes": [(1, 0.45, 0.03), (8, 0.83, 0.12), (32, 0.98, 0.4)]}, 0.6),
    "faiss_hnsw": ("faiss_hnsw", {"links": 32}, (7.0, 1.4e7, 1.15),
                   {"ef": [(16, 0.75, 0.1), (64, 0.94, 0.17), (256, 0.995, 0.5)]}, 0.2),
    "hnswlib": ("hnswlib", {"links": 16}, (9.0, 7e6, 1.15), {"ef": [(100, 0.96, 0.19), (200, 0.995, 0.31)]}, 0.1),
    "faiss_lsh": ("faiss_lsh", {"bits": 512}, (0.4, 3.2e6, 1.0), {"": [(0, 0.64, 0.15)]}, 1.0),
    "kdtree": ("kdtree", {"leaf": 40}, (0.5, 1e6, 1.1), {"": [(0, 1.0, 20.0)]}, 1.0),
}  # fmt: skip


def engine_results(sizes: tuple[int, ...] = (50_000,), names: tuple[str, ...] = tuple(ENGINES)) -> list[Any]:
    """Build and query cells of an imaginary run over many engines, each corpus size a backbone, in two processes.

    A batch answers a query in 0.8 of the time, exact search in 0.15. All times lie within one percent.
    """
    rng = np.random.default_rng(0)
    results: list[Any] = []
    for n in sizes:
        backbone = f"aerial-n{n}" if len(sizes) > 1 else "aerial"
        for name in names:
            kind, params, (build_s, size, build_power), queries, power = ENGINES[name]
            label = "-".join(v if isinstance(v, str) else f"{k}{v}" for k, v in params.items())
            place = "/".join(filter(None, (backbone, "falconn" if kind == "falconn" else name, label)))
            index = {"backbone": backbone, "engine": "falconn" if kind == "falconn" else name, "kind": kind, "n": n,
                     "d": 384, "params": params, "threads": 1, "other_load_fracs": [0.0, 0.0]}  # fmt: skip
            seconds = build_s * (n / 50_000) ** build_power * rng.normal(1, 0.005, (2, 1))
            results.append(BuildResult(f"{place}/build-1t", **index, size_bytes=int(size * n / 50_000),
                                       build_s=seconds.tolist(), ready_s=[0.0, 0.0]))  # fmt: skip
            for (key, settings), mode in itertools.product(queries.items(), ("single", "batch")):
                for value, recall, ms in settings:
                    speed = {"single": 1.0, "batch": 0.15 if kind == "exact" else 0.8}[mode]
                    calls = (40, 1.0) if mode == "single" else (3, 40)
                    scale = ms / 1000 * speed * (n / 50_000) ** power * calls[1]
                    asked = "/".join(filter(None, (place, f"{key}{value}" if key else "", "corrected", f"{mode}-1t")))
                    results.append(QueryResult(
                        asked, **index, query_params={key: value} if key else {}, space="corrected", mode=mode, k=100,
                        q=40, times_s=(scale * rng.normal(1, 0.003, (2, calls[0]))).tolist(), recall_at_k=[recall] * 40,
                        chosen={"probes": int(40 * value)} if key == "recall" else {},
                        prepare_s=[0.03, 0.05] if key == "recall" else [],
                    ))  # fmt: skip
    return results


def write_engine_tables(
    folder: Path, sizes: tuple[int, ...] = (50_000,), names: tuple[str, ...] = tuple(ENGINES)
) -> Path:
    """The tables of `engine_results`; the k-th neighbour is at 0.8 of unit vectors, random ones at 1.4."""
    facts = pd.DataFrame({"set": "timed", "stratum": "", "label": "", "lid": np.linspace(5, 15, 40), "tied": False,
                          "relative_contrast": 1.75, "kth_distance": 0.8})  # fmt: skip
    results = engine_results(sizes, names)
    backbones = dict.fromkeys(result.backbone for result in results)
    notes: dict[str, dict[str, Any]] = {backbone: {"unit_length": True} for backbone in backbones}
    for name, table in build_tables(results, None, notes, {}, DataFacts(dict.fromkeys(backbones, facts))).items():
        write_table(table, folder, name)
    return folder


@pytest.fixture(scope="session")
def engine_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of many engines on one corpus; do not write here."""
    return write_engine_tables(tmp_path_factory.mktemp("engines") / "tables")


@pytest.fixture(scope="session")
def growing_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same at four sizes; do not write here."""
    return write_engine_tables(tmp_path_factory.mktemp("growing") / "tables", (50_000, 100_000, 200_000, 400_000))


FINISHED = """
[corpus]
source = "pictures"
tile_px = 16
seed = 3
train_frac = 0.25

[backbone.micro]
model = "vit_tiny_patch16_224"
arch = { img_size = 16, patch_size = 4, embed_dim = 16, depth = 2, num_heads = 2 }
preprocess = "native"

[backbone.micro.train]
method = "dino"
epochs = 1
warmup_epochs = 0
batch = 8
global_px = 16
local_px = 8
local_crops = 1
out_dim = 16
hidden_dim = 16
bottleneck_dim = 8

[backbone.colour]
model = "colour"
preprocess = "native"

[engine.exact]

[engine.falconn]
tables = 2
hash_bits = 4
query.probes_per_table = [2, 4]

[queries]
count = 10
k = 5

[judge]
qrels = "mine.qrels"
easy_depth = 30
medium_depth = 24
hard_depth = 24

[measure]
rounds = 1
processes = 1
modes = ["single"]
"""


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over 72 small pictures of three classes, of which each third is a difficulty; do not write here.

    A quarter of them trained, and is not searched. The cache lies beside the folder ``reports``.
    """
    desk = tmp_path_factory.mktemp("finished")
    rng = np.random.default_rng(0)
    for label, colour in (("field", (80, 140, 60)), ("water", (40, 60, 150)), ("wood", (30, 80, 40))):
        (desk / "pictures" / label).mkdir(parents=True)
        for i in range(24):
            pixels = np.clip(rng.normal(colour, 25, (16, 16, 3)), 1, 254).astype(np.uint8)
            Image.fromarray(pixels).save(desk / "pictures" / label / f"{i:02}.png")
    strata = ("easy", "medium", "hard")
    judged = [
        f"{topic} {strata[topic // 24]} {document} {int(topic // 24 == document // 24)}"
        for topic in range(0, 72, 4) for document in range(72)
    ]  # fmt: skip
    (desk / "mine.qrels").write_text("\n".join(judged), encoding="utf-8")
    (desk / "small.toml").write_text(FINISHED, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(desk)
        patch.setattr(run_suite, "write_report", lambda folder: folder / "index.html")
        patch.setattr(run_suite, "fingerprint", lambda: MACHINE)
        patch.delenv("RIS_CACHE", raising=False)
        assert main(["run", "small.toml", "--run-id", "one"]) == 0
    return desk / "reports" / "small" / "one"
