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

_COMPARED = {  # a first with a second
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
}
_COULD_SHOW = {
    "least_difference": NUMBER,  # that so many queries can ever show, alone; missing: none
    "detectable_difference": NUMBER,  # that as many queries of this spread would show in four of five cases, alone
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
        "n": WHOLE,  # tiles that were trained on, extracted or indexed
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
        "knn_10": NUMBER,  # accuracy of the teacher's features after the epoch; missing where it was not read
        "knn_20": NUMBER,
        "mfu": NUMBER,  # model FLOPs utilisation of the epoch's steps
        "dominance": NUMBER,  # largest of the teacher's probabilities averaged over a batch: 1 where one output rules
        "accuracy": NUMBER,  # share of the training tiles whose label was told while they trained; of `classify` alone
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
    "class_accuracy": {
        "backbone": TEXT,
        "engine": TEXT,
        "cell": TEXT,
        "class": TEXT,  # a label, or "all"
        "queries": WHOLE,
        "depth": WHOLE,
        "accuracy": NUMBER,  # share of the first `depth` neighbours that bear the query's label
        "ci_low": NUMBER,
        "ci_high": NUMBER,
        "vote_accuracy": NUMBER,  # share of the queries whose label most of these neighbours bear
        "vote_ci_low": NUMBER,
        "vote_ci_high": NUMBER,
        "query_ms_median": NUMBER,  # of these queries, one at a time by one thread
    },
    "revisited": {
        "setup": TEXT,  # of the protocol: "easy", "medium" or "hard"
        "backbone": TEXT,
        "engine": TEXT,
        "setting": TEXT,
        "rerank": TEXT,  # name of the re-ranker; empty: the engine's own order
        "cell": TEXT,
        "space": TEXT,
        "n": WHOLE,  # searched tiles
        "distractors": WHOLE,  # of them
        "queries": WHOLE,  # that have anything right in the set-up
        **{  # mAP by trapezoids; mP@k as published, whose divisor ends with the last right tile, and with divisor k
            f"{score}{end}": NUMBER
            for score in ("map", *(f"{kind}_{k}" for kind in ("published_mp_at", "mp_at") for k in (1, 5, 10)))
            for end in ("", "_ci_low", "_ci_high")
        },
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
        "build_whole_s": NUMBER,  # loading the features and bringing them into the space included
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
    "systems": {
        "system": TEXT,  # name of its table in the suite
        "title": TEXT,
        "taught_by": TEXT,  # what its network or its space has learned from
        "backbone": TEXT,
        "engine": TEXT,
        "rerank": TEXT,  # empty: not done, as for the next
        "regions": TEXT,
        "cell": TEXT,
        "stratum": TEXT,  # or "all" queries of several
        "depth": WHOLE,
        "n": WHOLE,  # tiles in the index
        "queries": WHOLE,
        "precision": NUMBER,
        "ci_low": NUMBER,
        "ci_high": NUMBER,
        "mean_average_precision": NUMBER,
        "map_ci_low": NUMBER,
        "map_ci_high": NUMBER,
        "difference": NUMBER,  # of precision, to the first system on the same queries, as all columns down to "verdict"
        "difference_ci_low": NUMBER,
        "difference_ci_high": NUMBER,
        "p": NUMBER,
        "p_holm": NUMBER,
        "verdict": TEXT,  # "higher", "lower" or "no difference shown"
        "memory_bytes": WHOLE,  # the sum of the next three
        "index_bytes": WHOLE,
        "vector_bytes": WHOLE,  # 0 where answers need none
        "rerank_bytes": WHOLE,
        "train_s": NUMBER,
        "describe_ms": NUMBER,  # a tile's share of the extraction
        "describe_query_ms": NUMBER,  # of regions as measured one by one, else the same
        "query_ms_median": NUMBER,  # search, with re-ranking or merging, of a judged query alone
        "query_ms_ci_low": NUMBER,
        "query_ms_ci_high": NUMBER,
        "answer_ms": NUMBER,  # both
        "reason": TEXT,  # why it was not measured
    },
    "reranking": {
        "cell": TEXT,
        "backbone": TEXT,
        "engine": TEXT,
        "setting": TEXT,  # of the engine: what the suite names
        "rerank": TEXT,  # name of the re-ranker's table in the suite
        "rerank_kind": TEXT,
        "parameters": TEXT,  # of the re-ranker: what the suite names
        "top": WHOLE,  # answers that are put into a new order
        "n": WHOLE,  # tiles in the index
        "stratum": TEXT,  # or "all" queries of several
        "queries": WHOLE,
        **{
            f"{score}{column}": kind
            for score in ("precision", "average_precision")
            for column, kind in (
                ("", NUMBER),  # after re-ranking
                ("_ci_low", NUMBER),
                ("_ci_high", NUMBER),
                ("_before", NUMBER),  # of the same answers in the index' order
                ("_difference", NUMBER),  # after minus before
                ("_difference_ci_low", NUMBER),
                ("_difference_ci_high", NUMBER),
                ("_p", NUMBER),
                ("_p_holm", NUMBER),  # adjusted for all rows of the table
                ("_verdict", TEXT),  # "gains", "loses" or "no difference shown"
            )
        },
        "search_ms": NUMBER,
        "rerank_ms": NUMBER,
        "rerank_ms_ci_low": NUMBER,
        "rerank_ms_ci_high": NUMBER,
        "offline_s": NUMBER,
        "size_bytes": WHOLE,  # of what was made offline
        "processes": WHOLE,
        "status": TEXT,
        "reason": TEXT,
    },
    "regions": {
        "cell": TEXT,
        "backbone": TEXT,
        "engine": TEXT,
        "setting": TEXT,  # of the engine: what the suite names
        "regions": TEXT,  # name of the regions' table in the suite; "whole": whole pictures alone
        "source": TEXT,
        "parameters": TEXT,  # of the regions: what the suite names
        "merge": TEXT,
        "n": WHOLE,  # tiles in the index
        "stratum": TEXT,  # or "all" queries of several
        "queries": WHOLE,
        "crops": NUMBER,  # mean number of regions of a query
        **{
            f"{score}{column}": kind
            for score in ("precision", "average_precision")
            for column, kind in (
                ("", NUMBER),
                ("_ci_low", NUMBER),
                ("_ci_high", NUMBER),
                ("_whole", NUMBER),  # of the same queries asked by their whole pictures
                ("_difference", NUMBER),  # by regions minus by whole pictures
                ("_difference_ci_low", NUMBER),
                ("_difference_ci_high", NUMBER),
                ("_p", NUMBER),
                ("_p_holm", NUMBER),  # adjusted for all rows of the table
                ("_verdict", TEXT),  # "gains", "loses" or "no difference shown"
            )
        },
        "find_ms": NUMBER,  # medians over these queries, as all down to "query_ms", which is all four together
        "describe_ms": NUMBER,
        "search_ms": NUMBER,
        "merge_ms": NUMBER,
        "query_ms": NUMBER,
        "query_ms_ci_low": NUMBER,
        "query_ms_ci_high": NUMBER,
        "processes": WHOLE,
        "status": TEXT,
        "reason": TEXT,
    },
    "region_times": {
        "backbone": TEXT,
        "engine": TEXT,
        "setting": TEXT,
        "source": TEXT,  # of the regions: "whole", "windows", "boxes" or "detector"
        "n": WHOLE,  # tiles in the index
        "corpus_s": NUMBER,  # to describe all tiles of the corpus
        "tiles_per_s": NUMBER,
        "descriptor_bytes": WHOLE,  # of the indexed tiles
        "crops": WHOLE,  # of a query
        "queries": WHOLE,  # of all settings with so many crops
        "find_ms": NUMBER,
        "describe_ms": NUMBER,
        "search_ms": NUMBER,
        "merge_ms": NUMBER,
        "query_ms": NUMBER,
        "query_ms_ci_low": NUMBER,
        "query_ms_ci_high": NUMBER,
    },
    "throughput": {
        "cell": TEXT,
        "stage": TEXT,
        "way": TEXT,
        "backbone": TEXT,
        "threads": WHOLE,
        "n": WHOLE,  # tiles of a round
        "batch": WHOLE,
        "workers": WHOLE,  # processes that load images
        "device": TEXT,
        "precision": TEXT,
        "tiles_per_s": NUMBER,
        "ci_low": NUMBER,
        "ci_high": NUMBER,
        "processes": WHOLE,
        "rounds": WHOLE,  # of all processes together
        "times_as_fast": NUMBER,  # as the published way
        "times_ci_low": NUMBER,
        "times_ci_high": NUMBER,
        "prepare_frac": NUMBER,  # seconds that preparing the network's input takes alone / seconds of the whole
        "flops_per_tile": WHOLE,
        "mfu": NUMBER,
        "peak_rss_bytes": WHOLE,
        "peak_device_bytes": WHOLE,
        "other_load_frac": NUMBER,
        "status": TEXT,
        "reason": TEXT,
    },
    "differences": {
        "family": TEXT,  # all that was tested to answer one question; its p values are adjusted together
        "score": TEXT,
        "stratum": TEXT,  # "all": all judged queries; "timed": the timed queries
        "backbone": TEXT,
        "setting": TEXT,
        "first": TEXT,
        "second": TEXT,
        **_COMPARED,
        "cell": TEXT,  # of the first
        **_COULD_SHOW,
    },
    "published_differences": {
        "stratum": TEXT,
        "depth": WHOLE,  # missing for "all"
        "first": TEXT,  # a model of the thesis
        "second": TEXT,
        **_COMPARED,
        **_COULD_SHOW,
    },
    "exact_or_lsh": {
        "stratum": TEXT,
        "depth": WHOLE,
        "backbone": TEXT,
        "engine": TEXT,
        "cell": TEXT,
        "setting": TEXT,
        "queries": WHOLE,
        "random": NUMBER,  # precision at depth, as the next four
        "as_published": NUMBER,  # raw queries; missing where the suite does not ask them
        "lsh": NUMBER,  # corrected queries, as "exact"
        "lsh_ci_low": NUMBER,
        "lsh_ci_high": NUMBER,
        "exact": NUMBER,
        "exact_ci_low": NUMBER,
        "exact_ci_high": NUMBER,
        "ceiling": NUMBER,
        "lost_by_model": NUMBER,  # ceiling minus exact
        "model_ci_low": NUMBER,
        "model_ci_high": NUMBER,
        "lost_by_index": NUMBER,  # exact minus lsh
        "index_ci_low": NUMBER,
        "index_ci_high": NUMBER,
        "lost_by_slip": NUMBER,  # lsh minus as_published
        "slip_ci_low": NUMBER,
        "slip_ci_high": NUMBER,
        **_PUBLISHED,  # raw queries, judged by hand
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
        "train_tiles": WHOLE,
        "knn_10": NUMBER,  # accuracy of weighted k-NN on the raw features
        "knn_20": NUMBER,
        "knn_20_ci_low": NUMBER,
        "knn_20_ci_high": NUMBER,
        "knn_10_start": NUMBER,  # the same with the weights that training started from
        "knn_20_start": NUMBER,
        "flops": WHOLE,  # of one tile's forward pass
        "mfu": NUMBER,  # model FLOPs utilisation of extraction
        "train_mfu": NUMBER,  # of training, median over the epochs
        "extract_peak_mb": NUMBER,  # most memory during extraction: on the GPU, else of the process
    },
    "variants": {
        "backbone": TEXT,
        "like": TEXT,  # the backbone that it differs from, as the suite says; empty for one that is written out
        "changed": TEXT,  # keys of the suite whose values differ
        "train_s": NUMBER,
        "times_train_s": NUMBER,  # of the other's
        "final_loss": NUMBER,
        "knn_20": NUMBER,
        "knn_20_ci_low": NUMBER,
        "knn_20_ci_high": NUMBER,
        "knn_20_difference": NUMBER,  # to the other, on the same tiles
        "knn_20_difference_ci_low": NUMBER,
        "knn_20_difference_ci_high": NUMBER,
        "precision": NUMBER,  # exact search, all judged queries
        "precision_ci_low": NUMBER,
        "precision_ci_high": NUMBER,
        "precision_difference": NUMBER,  # to the other, on the same queries
        "precision_difference_ci_low": NUMBER,
        "precision_difference_ci_high": NUMBER,
    },
    "provenance": {
        "key": TEXT,  # group.name
        "value": TEXT,
    },
}

PUBLISHED_TABLES = ("published_differences",)  # made of the thesis' numbers alone: no run and no machine stands behind

CAPTIONS: dict[str, str] = {
    "runtimes": "Running times: mean, and median over the processes of each one's median with its 95 % bootstrap "
    "interval over processes and rounds; the last column counts the times behind them. The thesis' times are means, of "
    "400,000 tiles on another machine, its builds with loading and normalising (1,000 of them), its queries single and "
    "raw (2 million): they stand for orientation and cannot be compared.",
    "losses": "Training loss of each epoch, beside those of DINO that the thesis published of 400,000 tiles. Losses of "
    "different methods do not compare.",
    "nn_precision": "Relevant tiles among the nearest neighbours of each query, exact search; random answers and the "
    "ceiling, which the number of relevant tiles in the corpus sets, beside them. Below the queries of each difficulty "
    "stand the thesis' own, on 400,000 tiles of another corpus, by LSH with raw queries and judged by hand.",
    "nn_precision_averages": "Precision of nearest neighbours by difficulty: mean over the queries and its 95 % "
    "bootstrap interval. The thesis' rows were judged by hand on another corpus, of 400,000 tiles.",
    "class_accuracy": "Accuracy by class of the queries that labels judge: share of the nearest neighbours that bear "
    "the query's label, and share of the queries whose label most of them bear (majority vote, ties to the nearest), "
    "with 95 % bootstrap intervals over the queries; median time of a single query. Corrected queries.",
    "lsh_parameters": "Build, memory, query time and recall of every setting, with the parameters as the engine "
    "derived them (k: hash functions of a table; last dim: of its last cross-polytope) and the candidates it examined "
    "for a query. Median query time with its 95 % interval; in batch mode the time of a batch divided by its queries. "
    "The thesis' rows are of 400,000 tiles on another machine. Noisy: other work took more than 15 % of the cores "
    "meanwhile. An index that is slow to build is built and asked in one process: its intervals know no differences "
    "between processes.",
    "differences": "Paired comparisons on the same queries: mean difference with its 95 % bootstrap interval, as if it "
    "were the only one; p of a permutation test; and p adjusted for all comparisons that answer the same question "
    "(Holm). A difference is called where the adjusted p is below 0.05. No difference shown does not mean that there "
    "is none: the last column is the difference that as many queries of this spread would show in four of five cases, "
    "if it were the only comparison.",
    "published_differences": "Which published differences stand? The thesis' models on its own queries, by its counts: "
    "FALCONN with raw queries on 400,000 tiles, hits judged by hand. Tests as in the table of differences, adjusted "
    "for all comparisons of this table.",
    "exact_or_lsh": "Who loses the neighbours, model or index? Precision of random answers, of LSH with raw and with "
    "corrected queries, of exact search, and the best possible; and the differences between them, paired, with 95 % "
    "bootstrap intervals over the queries. The thesis has the hits of its LSH alone, judged by hand on another corpus.",
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
    "systems": "Whole systems side by side: precision of the judged queries with its 95 % bootstrap interval, an arrow "
    "where it is told apart from the first system's (paired permutation tests, adjusted for all of them); mean average "
    "precision over all queries; memory of vectors, index and what re-ranking keeps; training; description of a tile, "
    "a share of the extraction of all, without local descriptors; median search of a single query, re-ranking or "
    "merging included; and the sum of describing and searching, where regions count with their own description. "
    "Taught by: what networks or whitening learned from. Those that saw labels know more than those that did not.",
    "revisited": "The revisited protocol: mAP by trapezoids over whole rankings, junk left out, with 95 % bootstrap "
    "intervals over queries, and mP@10 as published, in percent.",
    "reranking": "What re-ranking gains and costs: precision and average precision of the judged queries after it, and "
    "the differences from the same answers in the index' own order, paired, with 95 % bootstrap intervals; called "
    "where the p of a permutation test, adjusted for all rows of the table (Holm), is below 0.05. Median times of one "
    "query, searched and re-ranked alone; offline is the time that a re-ranker spends on the corpus before any query, "
    "and the bytes that it keeps beside vectors and index once all were asked.",
    "regions": "Queries by regions: precision and average precision of the merged ranking of a whole picture and its "
    "crops, and the differences from the same queries by their whole pictures, paired, with 95 % bootstrap intervals; "
    "called where the p of a permutation test, adjusted for all rows of the table (Holm), is below 0.05. Crops: mean "
    "number a query. Median time of one query from its picture in memory to the merged ranking.",
    "region_times": "What a query costs by number of crops: finding its regions, cutting and describing them with the "
    "whole picture, searching for all vectors in one call, and merging; medians with the 95 % interval of the whole. "
    "Beside it the description of the corpus and the bytes of its descriptors.",
    "throughput": "Rates of each stage by each way, in one run on one machine, the ways taking turns: median over "
    "processes and its 95 % bootstrap interval, and how many times as fast as the published way. Preparation is what "
    "making the network's input takes alone, as a share of the whole; where workers load images beside the network, "
    "the two overlap. Utilisation (MFU) is FLOPs of the network over those that a large product of matrices reaches "
    "here, in the same precision. Peak memory is that of the process, without its loader's workers.",
    "models": "Backbones: size, cost of training and extraction, length of a raw feature, accuracy of weighted "
    "k-NN (k = 10, 20) with the 95 % bootstrap interval of the latter. Utilisation (MFU) is FLOPs of the network over "
    "those that products of matrices reached here when they were measured, once a process; where other work slowed "
    "that, it comes out too high. Peak memory during extraction is that on the GPU, else of the process as a whole.",
    "variants": "Backbones beside those that they are like: k-NN accuracy on the same tiles and precision on the same "
    "judged queries, differences with their 95 % bootstrap interval, each as if it were the only one; time to train.",
    "provenance": "What the numbers of this run can be traced by.",
}
