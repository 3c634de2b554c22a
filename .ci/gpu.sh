#!/usr/bin/env bash
# What only a machine with a GPU can do, in steps of under ten minutes each; a step that was cut off goes on when it is
# called again. Nothing here has been run on a GPU yet. On a CPU at tiny sizes doctor, train_tiny, train_small, profile and
# report have been run, and tests with two of its files; throughput and backbones have not.
#
#   .ci/gpu.sh STEP [STEP ...]
#
#   doctor      what works on this machine
#   tests       the tests that need a GPU, and those of training and extraction
#   train_tiny  ViT-Tiny by the published recipe on the scene at scale (suites/gpu.toml)
#   train_small ViT-Small likewise
#   profile     one step of each under the profiler: not compiled, compiled
#   throughput  tiling, training and extraction beside the published way and lightly (suites/throughput.toml)
#   backbones   networks side by side (suites/backbones.toml)
#   report      tables and page of suites/gpu.toml, from the checkpoints that are there
#
# Results are CSV files under $RIS_GPU_REPORTS. The variables below make any step small enough for a CPU.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${RIS_GPU_PYTHON:-python}
device=${RIS_GPU_DEVICE:-cuda}                # the steps that train fail at once where it is not there
devices=${RIS_GPU_DEVICES:-1}                 # of this machine, that train together
limit_s=${RIS_GPU_LIMIT_S:-570}               # of one step
reports=${RIS_GPU_REPORTS:-reports/gpu}
export RIS_CACHE=${RIS_CACHE:-.ris_cache}
# Arguments for each suite, such as: RIS_GPU_SCENE="--set corpus.source=ortho.tif"
read -ra scene <<<"${RIS_GPU_SCENE:-}"
sizes="throughput.steps=20 throughput.tiles=4000 throughput.batch=200 backbone.tiny.train.batch=200"
sizes+=" corpus.scene_px=32768 corpus.sample=4000"
read -ra throughput <<<"${RIS_GPU_THROUGHPUT:---set ${sizes// / --set }}"
read -ra backbones <<<"${RIS_GPU_BACKBONES:-}"
read -ra tests <<<"${RIS_GPU_TESTS:-tests/ris_core}"

limited() { # ends a command in time, as Ctrl-C would, so that it keeps what it has
    timeout --signal=INT --kill-after=20 "$limit_s" "$@" || {
        local code=$?
        [[ $code == 124 || $code == 130 ]] && echo "not finished in $limit_s s: call the step again" >&2
        return "$code"
    }
}

train() { # a backbone of suites/gpu.toml; its log becomes a table
    local launcher=("$python") weights
    ((devices > 1)) && launcher+=(-m torch.distributed.run --standalone --nproc-per-node "$devices")
    weights=$(limited "${launcher[@]}" -m bench train gpu "$1" --device "$device" "${scene[@]}")
    "$python" -c 'import sys, pandas; pandas.read_json(sys.argv[1], lines=True).to_csv(sys.argv[2], index=False)' \
        "$(dirname "$weights")/log.txt" "$reports/training_$1.csv"
}

measure() { # a suite, with the run of the last call gone on with
    limited "$python" -m bench run "$1" --reports "$reports/runs" --resume "${@:2}"
    mkdir -p "$reports/$1"
    cp "$(find "$reports/runs/$1" -name tables -type d | sort | tail -1)"/*.csv "$reports/$1/"
}

run_step() {
    case $1 in
    doctor) "$python" -m bench doctor | tee "$reports/doctor.txt" ;;
    tests) limited "$python" -m pytest -q -rs "${tests[@]}" ;;
    train_tiny) train tiny ;;
    train_small) train small ;;
    profile)
        for backbone in tiny small; do
            limited "$python" .ci/profile_training.py "$backbone" "$device" "$reports" "${scene[@]}"
        done
        ;;
    throughput) measure throughput "${throughput[@]}" ;;
    backbones) measure backbones "${backbones[@]}" ;;
    report) measure gpu "${scene[@]}" ;;
    *) sed -n '6,17s/^# \{0,1\}//p' "$0" >&2 && return 2 ;;
    esac
}

mkdir -p "$reports"
(($# > 0)) || set -- help
for step in "$@"; do run_step "$step"; done
