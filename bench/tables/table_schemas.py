"""Columns of every CSV table, in order, with their types; what a caption says of each.

Units stand in the names (`_s`, `_ms`, `_bytes`, `_frac`); precision and recall are fractions in [0, 1]. Text is empty
and numbers are missing where there is nothing to say. New columns go to the end. Long because it is data: one line a
column, in one place for all who read the CSV files.
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
        "rounds": WHOLE,  # measurements behind the row: rounds, or queries answered alone, of all processes
        "n": WHOLE,  # tiles in the corpus
        **_PUBLISHED,
        "ci_low": NUMBER,
        "ci_high": NUMBER,
        "processes": WHOLE,
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
        "average_precision": NUMBER,  # at `depth`; missing for "random" and "ceiling"
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
        "mean_average_precision": NUMBER,
        "map_ci_low": NUMBER,
        "map_ci_high": NUMBER,
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
        "query_ms_max": NUMBER,
        "query_ms_ci_low": NUMBER,
        "query_ms_ci_high": NUMBER,
        "build_s_ci_low": NUMBER,
        "build_s_ci_high": NUMBER,
        "processes": WHOLE,
        "overhead_ms": NUMBER,  # of an engine that does nothing, asked in the same way
        "other_load_frac": NUMBER,  # of the cores, while the clock ran
        "self_missed_frac": NUMBER,
        "unstable_frac": NUMBER,  # of the queries: processes gave different answers
        "ready_ms": NUMBER,  # first query of a fresh index
        "recall_ids_ci_low": NUMBER,
        "recall_ids_ci_high": NUMBER,
        "setting": TEXT,  # the parameters that the suite names, without the family
        "build_setting": TEXT,  # those of the index among them
        "prepare_s": NUMBER,  # before the clock, for these query parameters
        "chosen": TEXT,  # what was chosen meanwhile
    },
    "cheapest_settings": {
        "backbone": TEXT,
        "mode": TEXT,
        "threads": WHOLE,
        "engine": TEXT,
        "n": WHOLE,
        "k": WHOLE,
        "recall_target": NUMBER,
        "settings": WHOLE,  # measured, from which the fastest was chosen
        "cell": TEXT,  # empty where none reaches the target
        "recall": NUMBER,
        "recall_ci_low": NUMBER,
        "recall_ci_high": NUMBER,
        "query_ms_median": NUMBER,
        "query_ms_ci_low": NUMBER,
        "query_ms_ci_high": NUMBER,
        "queries_per_s": NUMBER,
        "build_s": NUMBER,
        "size_bytes": WHOLE,
        "variant": TEXT,  # the engine with its family
        "setting": TEXT,
        "chosen": TEXT,
        "d": WHOLE,
        "q": WHOLE,
        "build_s_ci_low": NUMBER,
        "build_s_ci_high": NUMBER,
        "prepare_s": NUMBER,
        "best_recall": NUMBER,  # of all its settings
        "exact_batch_ms": NUMBER,  # exact search, all queries in one call, as many threads
        "times_as_fast": NUMBER,  # exact_batch_ms / query_ms_median
        "against_exact_batch": TEXT,  # "faster", "slower" or "no difference shown"
        "processes": WHOLE,  # behind the time of a query; 1 where the index was slow to build
    },
    "engine_ranks": {
        "backbone": TEXT,
        "threads": WHOLE,
        "n": WHOLE,
        "k": WHOLE,
        "recall_target": NUMBER,
        "variant": TEXT,
        "single_ms": NUMBER,
        "batch_ms": NUMBER,
        "build_s": NUMBER,  # choosing included, of the setting that answers single queries fastest, as size_bytes
        "size_bytes": WHOLE,
        "single_rank": NUMBER,
        "batch_rank": NUMBER,
        "build_rank": NUMBER,
        "memory_rank": NUMBER,
        "mean_rank": NUMBER,
    },
    "growth_points": {
        "corpus": TEXT,
        "variant": TEXT,
        "metric": TEXT,  # "single_ms", "batch_ms", "build_s" or "size_bytes"
        "threads": WHOLE,
        "k": WHOLE,
        "recall_target": NUMBER,
        "n": WHOLE,
        "cost": NUMBER,  # in the metric's unit; missing where no setting reaches the recall
        "how": TEXT,  # "setting", "interpolated", "floor" or "not reached"
        "settings": TEXT,  # that the cost rests on
    },
    "growth": {
        "corpus": TEXT,
        "variant": TEXT,
        "metric": TEXT,
        "threads": WHOLE,
        "k": WHOLE,
        "recall_target": NUMBER,
        "points": WHOLE,  # sizes that the line is fitted to
        "sizes": WHOLE,  # of the corpus that were measured
        "n_low": WHOLE,
        "n_high": WHOLE,
        "exponent": NUMBER,
        "stderr": NUMBER,
        "ci_low": NUMBER,
        "ci_high": NUMBER,
        "factor": NUMBER,  # cost at n = 1
        "floors": WHOLE,  # points at which the fastest setting exceeds the recall
        "theory": NUMBER,
        "theory_from": TEXT,
    },
    "memory": {
        "cell": TEXT,
        "backbone": TEXT,
        "engine": TEXT,
        "kind": TEXT,
        "n": WHOLE,
        "d": WHOLE,
        "vector_bytes": WHOLE,  # in the index' space
        "theoretical_bytes": WHOLE,  # of the index, by its definition; no vectors
        "size_bytes": WHOLE,  # of the index, as the engine says; no vectors
        "anon_growth_bytes": WHOLE,  # of the process while it built the index
        "disk_bytes": WHOLE,  # of the raw features, from which the index is built
        "peak_rss_bytes": WHOLE,  # of the process, from before the build until after a query
        "start_rss_bytes": WHOLE,  # of the process before the build, vectors and libraries included
    },
    "differences": {
        "family": TEXT,  # all that was tested to answer one question; its p values are adjusted together
        "score": TEXT,
        "stratum": TEXT,  # "all": all judged queries; "timed": the timed queries
        "backbone": TEXT,
        "setting": TEXT,
        "first": TEXT,
        "second": TEXT,
        "n": WHOLE,  # queries that both answered
        "mean_first": NUMBER,
        "mean_second": NUMBER,
        "difference": NUMBER,  # first minus second
        "ci_low": NUMBER,
        "ci_high": NUMBER,
        "p": NUMBER,
        "p_holm": NUMBER,
        "comparisons": WHOLE,  # in the family
        "verdict": TEXT,  # what the first is: "higher", "lower" or "no difference shown"
        "cell": TEXT,  # of the first
    },
    "ranking": {
        "data_set": TEXT,  # the features of one backbone
        "engine": TEXT,
        "cell": TEXT,  # its fastest setting that reaches the target
        "threads": WHOLE,
        "n": WHOLE,  # tiles
        "q": WHOLE,  # timed queries
        "k": WHOLE,
        "recall_target": NUMBER,
        "recall": NUMBER,
        "query_ms": NUMBER,
        "rank": NUMBER,  # on this data set; engines without such a setting share the last one
        "average_rank": NUMBER,  # over all data sets, as all columns from here on
        "data_sets": WHOLE,
        "groups": TEXT,  # engines that share a letter cannot be told apart
        "friedman_p": NUMBER,
        "smallest_p": NUMBER,  # adjusted; so many data sets can give no smaller one
        "reason": TEXT,
    },
    "recall_by_difficulty": {
        "cell": TEXT,
        "backbone": TEXT,
        "engine": TEXT,
        "space": TEXT,
        "mode": TEXT,
        "threads": WHOLE,
        "k": WHOLE,
        "kind": TEXT,  # of difficulty: "stratum", "label", "lid" or "relative_contrast"
        "group": TEXT,  # a stratum, a label, or a third: "low", "middle", "high"
        "low": NUMBER,  # smallest and greatest value in a third
        "high": NUMBER,
        "queries": WHOLE,
        "recall": NUMBER,
        "ci_low": NUMBER,
        "ci_high": NUMBER,
        "recall_ids": NUMBER,
        "query_ms_median": NUMBER,  # of queries answered alone; median over the processes of their medians
    },
    "recall_over_lid": {
        "cell": TEXT,
        "backbone": TEXT,
        "engine": TEXT,
        "space": TEXT,
        "mode": TEXT,
        "threads": WHOLE,
        "k": WHOLE,
        "bin": WHOLE,
        "lid_low": NUMBER,
        "lid_high": NUMBER,
        "lid_mean": NUMBER,
        "queries": WHOLE,
        "recall": NUMBER,
        "ci_low": NUMBER,
        "ci_high": NUMBER,
    },
    "spatial_leakage": {
        "cell": TEXT,
        "backbone": TEXT,
        "engine": TEXT,
        "space": TEXT,
        "mode": TEXT,
        "threads": WHOLE,
        "k": WHOLE,
        "score": TEXT,  # "recall@100", "precision easy@100"
        "exclude": TEXT,  # "self", "overlap" or "block"
        "queries": WHOLE,
        "mean": NUMBER,
        "ci_low": NUMBER,
        "ci_high": NUMBER,
        "difference": NUMBER,  # to "self", on the same queries
        "difference_ci_low": NUMBER,
        "difference_ci_high": NUMBER,
    },
    "query_geometry": {
        "backbone": TEXT,
        "set": TEXT,  # "timed" or "judged"
        "k": WHOLE,
        "queries": WHOLE,
        "lid_missing": WHOLE,  # queries without an estimate
        "lid_mean": NUMBER,
        "lid_q1": NUMBER,
        "lid_median": NUMBER,
        "lid_q3": NUMBER,
        "relative_contrast_q1": NUMBER,
        "relative_contrast_median": NUMBER,
        "relative_contrast_q3": NUMBER,
        "tied_frac": NUMBER,
        "near_distance": NUMBER,  # mean Euclidean distance to the k-th neighbour
        "far_distance": NUMBER,  # mean Euclidean distance to the other tiles
    },
    "data_hygiene": {
        "about": TEXT,
        "backbone": TEXT,  # empty for the tiles
        "count": WHOLE,  # tiles, vectors or queries concerned
        "of": WHOLE,  # examined
        "frac": NUMBER,
        "groups": WHOLE,  # of duplicates; blocks that hold a query
        "consequence": TEXT,
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
        "knn_ci_low": NUMBER,
        "knn_ci_high": NUMBER,
    },
    "provenance": {
        "key": TEXT,  # group.name
        "value": TEXT,
    },
}

CAPTIONS: dict[str, str] = {
    "runtimes": "Running times: median over the processes of each one's median, its 95 % bootstrap interval over "
    "processes and rounds, quartiles and minimum. Building is loading, transforming and constructing; the first query "
    "of a fresh index makes it ready. The last column is the thesis' time for ViT-Tiny on "
    "400,000 tiles and another machine: it stands for orientation and cannot be compared.",
    "losses": "DINO training loss of each epoch.",
    "nn_precision": "Relevant tiles among the nearest neighbours of each query, exact search; random answers and the "
    "ceiling, which the number of relevant tiles in the corpus sets, beside them.",
    "nn_precision_averages": "Precision of nearest neighbours by difficulty: mean over the queries and its 95 % "
    "bootstrap interval. The thesis' rows were judged by hand on another corpus, of 400,000 tiles.",
    "lsh_parameters": "Build, query time, recall and precision of every setting. Median query time; in batch mode the "
    "time of a batch divided by its queries. The harness' own share of it is what an engine that does nothing takes. "
    "Noisy: other work took more than 15 % of the cores meanwhile. An index that is slow to build is built and asked "
    "in one process: its intervals know no differences between processes.",
    "differences": "Paired comparisons on the same queries: mean difference with its 95 % bootstrap interval, as if it "
    "were the only one; p of a permutation test; and p adjusted for all comparisons that answer the same question "
    "(Holm). A difference is called where the adjusted p is below 0.05. No difference shown does not mean that there "
    "is none.",
    "ranking": "Engines over data sets, a data set being the features of one backbone: time of a single query in each "
    "engine's fastest setting that reaches the recall, and its rank. Engines that share a group letter cannot be told "
    "apart.",
    "recall_by_difficulty": "Recall and time by difficulty, three kinds apart: judged queries by stratum, timed ones "
    "by label and by geometry (local intrinsic dimension and relative contrast at k, in thirds). Recall and, of single "
    "queries, the median time in ms; corrected queries.",
    "recall_over_lid": "Mean recall of the timed queries in bins of local intrinsic dimension, equally many in each.",
    "spatial_leakage": "The same scores with the query's own tile left out (self), with all tiles that overlap it, and "
    "with all of its block. Differences are paired. Fewer relevant tiles are left then, so that precision may fall for "
    "that reason alone.",
    "query_geometry": "Geometry of the queries at k: local intrinsic dimension (high is hard), relative contrast (near "
    "1 is hard), share of queries with a tie at rank k.",
    "data_hygiene": "State of the data: what was found, and what it does to the scores.",
    "cheapest_settings": "What a recall costs: each engine in its fastest setting that reaches it, for single queries "
    "and for batches apart; build time, choosing included, and memory beside the vectors are those of the setting for "
    "single queries. Corrected queries; medians over so many processes: one process does not tell how others differ. A "
    "query in a batch stands against exact search in batches, which every index has to beat.",
    "engine_ranks": "Ranks of the engines for each recall, 1 being best: time of a single query, of one in a batch, "
    "build time, choosing included, memory beside the vectors, and the mean of those measured. Engines that do not "
    "reach the recall share the last ranks. Ranks hide how far apart engines are, and neighbours may differ by chance "
    "alone.",
    "growth_points": "What a recall costs at each number of vectors: a setting that measures it, or an interpolation "
    "between two; floor: the fastest setting exceeds it. Building includes choosing.",
    "growth": "Growth of cost with n: exponent of the power law fitted to the sizes, with its standard error and 95 % "
    "interval, and at how many of them the fastest setting already exceeds the recall. Theory is that of the time of a "
    "query and leaves out what grows slower than any power of n.",
    "memory": "Memory of each index, read in a process of its own that nobody times, of an index that is slow to build "
    "in the timed one after the last of its builds: by the formula of its structure, by the engine's own count, and by "
    "how much the process' anonymous memory grew; the vectors, which every index needs, stand apart.",
    "models": "Backbones: size, cost of training and extraction, length of a raw feature, leave-one-out k-NN accuracy.",
    "provenance": "What the numbers of this run can be traced by.",
}
