"""The harness: suites, cells, clocks, scores and reports over the pipeline of `ris_core`."""
