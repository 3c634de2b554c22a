"""Columns of every CSV table, in order, with their types; what a caption says of each.

Units stand in the names (`_s`, `_ms`, `_bytes`, `_frac`); precision and recall are fractions in [0, 1]. Text is empty
and numbers are missing where there is nothing to say. New columns go to the end.
"""

TEXT, WHOLE, NUMBER = "text", "whole number", "number"

_PUBLISHED = {"published_tiny": NUMBER, "published_tiny_longer": NUMBER} | {
    "published_small": NUMBER,
    "published_small_pretrained": NUMBER,
}

SCHEMAS: dict[str, dict[str, str]] = {
    "runtimes": {
        "quantity": TEXT,
        "unit": TEXT,
        "backbone": TEXT,
        "engine": TEXT,
        "cell": TEXT,
        "median": NUMBER,
        "mean": NUMBER,
        "q1": NUMBER,
        "q3": NUMBER,
        "min": NUMBER,
        "rounds": WHOLE,  # measurements behind the row: rounds, or queries answered alone
        "n": WHOLE,  # tiles in the corpus
        **_PUBLISHED,
    },
    "losses": {
        "backbone": TEXT,
        "epoch": WHOLE,
        "loss": NUMBER,
        "lr": NUMBER,
        "weight_decay": NUMBER,
        "teacher_entropy": NUMBER,
        "kl": NUMBER,
        "images_per_s": NUMBER,
        "epoch_s": NUMBER,
        **_PUBLISHED,
    },
    "nn_precision": {
        "stratum": TEXT,
        "depth": WHOLE,
        "query_id": WHOLE,
        "concept": TEXT,
        "backbone": TEXT,
        "engine": TEXT,  # an engine of the suite, "random" or "ceiling"
        "cell": TEXT,
        "space": TEXT,
        "found": NUMBER,  # relevant tiles among the first `depth`; an expectation for "random"
        "precision": NUMBER,
        "relevant_in_corpus": WHOLE,  # the query itself left out
    },
    "nn_precision_averages": {
        "stratum": TEXT,
        "depth": WHOLE,
        "backbone": TEXT,
        "engine": TEXT,
        "cell": TEXT,
        "space": TEXT,
        "queries": WHOLE,
        "precision": NUMBER,
        "ci_low": NUMBER,
        "ci_high": NUMBER,
        **_PUBLISHED,
    },
    "lsh_parameters": {
        "cell": TEXT,
        "backbone": TEXT,
        "engine": TEXT,
        "kind": TEXT,
        "family": TEXT,
        "tables": WHOLE,
        "hash_bits": WHOLE,
        "hash_functions": WHOLE,
        "last_cp_dimension": WHOLE,
        "probes_per_table": WHOLE,
        "other_params": TEXT,
        "space": TEXT,
        "mode": TEXT,
        "threads": WHOLE,
        "n": WHOLE,
        "d": WHOLE,
        "k": WHOLE,
        "q": WHOLE,
        "build_s": NUMBER,
        "size_bytes": WHOLE,
        "query_ms_median": NUMBER,
        "query_ms_mean": NUMBER,
        "query_ms_p95": NUMBER,
        "query_ms_p99": NUMBER,
        "queries_per_s": NUMBER,
        "recall": NUMBER,
        "recall_ci_low": NUMBER,
        "recall_ci_high": NUMBER,
        "recall_ids": NUMBER,
        "candidates": NUMBER,
        "shorter_than_k_frac": NUMBER,
        "precision_easy": NUMBER,
        "precision_medium": NUMBER,
        "precision_hard": NUMBER,
        "status": TEXT,
        "reason": TEXT,
        "precision_label": NUMBER,
        "precision_qrels": NUMBER,
        "self_first_frac": NUMBER,
    },
    "models": {
        "backbone": TEXT,
        "model": TEXT,
        "weights": TEXT,
        "parameters": WHOLE,
        "d": WHOLE,
        "tiles": WHOLE,
        "train_epochs": WHOLE,
        "train_s": NUMBER,
        "epoch_s": NUMBER,
        "final_loss": NUMBER,
        "extract_s": NUMBER,
        "tiles_per_s": NUMBER,
        "norm_mean": NUMBER,
        "norm_std": NUMBER,
        "knn_accuracy": NUMBER,
        "train_tiles": WHOLE,
    },
}

CAPTIONS: dict[str, str] = {
    "runtimes": "Running times: median, quartiles and minimum. The last column is the thesis' time for ViT-Tiny on "
    "400,000 tiles and another machine: it stands for orientation and cannot be compared.",
    "losses": "DINO training loss of each epoch.",
    "nn_precision": "Relevant tiles among the nearest neighbours of each query, exact search; random answers and the "
    "ceiling, which the number of relevant tiles in the corpus sets, beside them.",
    "nn_precision_averages": "Precision of nearest neighbours by difficulty: mean over the queries and its 95 % "
    "bootstrap interval. The thesis' rows were judged by hand on another corpus, of 400,000 tiles.",
    "lsh_parameters": "Build, query time, recall and precision of every setting. Median query time; in batch mode the "
    "time of a batch divided by its queries.",
    "models": "Backbones: size, cost of training and extraction, length of a raw feature, leave-one-out k-NN accuracy.",
}
