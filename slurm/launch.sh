#!/usr/bin/env bash
# A scan over a Slurm allocation of any shape:
#
#     sbatch [sbatch options] slurm/launch.sh CONFIG.toml [run options]
#     sbatch --nodes=4 --exclusive --time=12:00:00 slurm/launch.sh scan.toml
#     slurm/launch.sh scan.toml            # submits itself with the options of slurm/site.sh
#
# It starts a Ray of this job's own, with a token, on every node; runs the driver on the first; goes on after a node or
# a Ray is lost; on SIGUSR1 (five minutes before the time limit) saves and requeues itself. `%a` in a run option is the
# number of the array task. What differs between clusters is in slurm/site.sh: see slurm/sites/. How it works, and
# what to do when it does not: slurm/README.md.
#SBATCH --job-name=raydnnr
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --no-kill
set -u

say() { echo "[launch $(date +%H:%M:%S)] $*"; }

# ---- where this script is: Slurm runs a copy of it
home() {
    local script=${BASH_SOURCE[0]}
    case $script in */slurm_script)
        script=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p;T;q') ;;
    esac
    cd "$(dirname "$script")" 2>/dev/null && pwd
}
HERE=${RAYDNNR_SLURM:-$(home)}

# ---- the site's settings
PYTHON=(python)
SBATCH_OPTIONS=()
SITE=${RAYDNNR_SITE:-$HERE/site.sh}
if [ -f "$SITE" ]; then . "$SITE"; fi
export RAYDNNR_TMP=${RAYDNNR_TMP:-/tmp}

if [ -z "${SLURM_JOB_ID:-}" ]; then
    exec sbatch "${SBATCH_OPTIONS[@]}" "$HERE/launch.sh" "$@"
fi
if [ $# = 0 ]; then
    say "usage: sbatch [options] slurm/launch.sh CONFIG.toml [run options]"
    exit 2
fi
ARGUMENTS=("${@//%a/${SLURM_ARRAY_TASK_ID:-0}}")

# ---- what this job's processes tell each other, and nobody else
cd "${SLURM_SUBMIT_DIR:-.}" || exit 1
umask 077
JOB_DIR=$PWD/.raydnnr-job-$SLURM_JOB_ID
for old in .raydnnr-job-*; do    # of jobs that were killed
    [ -d "$old" ] && [ ! -e "$old/kept" ] && [ -O "$old" ] && ! squeue -h -j "${old##*-}" 2>/dev/null | grep -q . \
        && rm -rf "$old"
done
export RAYDNNR_JOB=$SLURM_JOB_ID RAYDNNR_NODES=0
for ((k = 0; k < ${SLURM_HET_SIZE:-1}; k++)); do
    n=SLURM_JOB_NUM_NODES${SLURM_HET_SIZE:+_HET_GROUP_$k}
    RAYDNNR_NODES=$((RAYDNNR_NODES + ${!n:-1}))
done
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$JOB_DIR/token
unset RAY_AUTH_TOKEN RAY_ADDRESS RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER
# on a single machine Ray listens on the loopback only (raydnnr/cluster/environment.py)
[ "$RAYDNNR_NODES" = 1 ] && export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0

# ---- signals: whoever waits is woken, the driver is told
DRIVER='' NODES='' INTERRUPTED='' STOP='' REQUEUE=''
on_signal() {
    say "SIG$1 received"
    INTERRUPTED=1 STOP=1
    [ "$1" = USR1 ] && REQUEUE=1
    [ -n "$DRIVER" ] && kill "-$1" "$DRIVER" 2>/dev/null
}
trap 'on_signal USR1' USR1
trap 'on_signal TERM' TERM

ended() { # the status of a child, however many signals come in between
    local status
    while INTERRUPTED=; wait "$1"; status=$?; [ -n "$INTERRUPTED" ]; do :; done
    return "$status"
}

# ---- Ray, one per node
start_nodes() {
    rm -rf "$JOB_DIR" && mkdir "$JOB_DIR" || exit 1
    head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$JOB_DIR/token"
    local groups=()
    [ -n "${SLURM_HET_SIZE:-}" ] && groups=("--het-group=0-$((SLURM_HET_SIZE - 1))")
    (
        # of the batch step, and no longer true of ours: one task per node, with all the job has there
        unset "${!SLURM_NTASKS@}" "${!SLURM_NPROCS@}" "${!SLURM_TASKS_PER_NODE@}" "${!SLURM_MEM_PER@}" "${!SLURM_CPU_BIND@}"
        exec srun "${groups[@]}" --ntasks-per-node=1 --whole --overlap --mem=0 --cpu-bind=none --no-kill \
            --kill-on-bad-exit=0 --wait=0 --output="$JOB_DIR/node-%N.log" \
            bash -c "$NODE" node "${SLURMD_NODENAME:-$(hostname)}" "$JOB_DIR" "${PYTHON[@]}"
    ) &
    NODES=$!
}
NODE='
head=$1 job_dir=$2; shift 2
options=(--cpus "${SLURM_CPUS_ON_NODE:-$(nproc)}" --gpus "${SLURM_GPUS_ON_NODE:-0}")
[ "${SLURMD_NODENAME:-$(hostname)}" = "$head" ] && options+=(--head)
if [ "$RAYDNNR_NODES" = 1 ]; then
    options+=(--address 127.0.0.1)
elif [ -n "${RAYDNNR_INTERFACE:-}" ]; then
    options+=(--address "$(ip -4 -o addr show "$RAYDNNR_INTERFACE" | sed "s/.* inet \([0-9.]*\).*/\1/;q")")
fi
exec "$@" -m raydnnr.cluster.node "$job_dir" "${options[@]}"
'

stop_nodes() {
    touch "$JOB_DIR/end"
    for _ in $(seq 100); do kill -0 "$NODES" 2>/dev/null || break; sleep 0.1; done
    kill -TERM "$NODES" 2>/dev/null    # ends the step the hard way
    wait "$NODES" 2>/dev/null
}

ray_is_up() {
    UP=
    until [ -s "$JOB_DIR/address" ]; do
        [ -n "$STOP" ] && return 1
        [ -s "$JOB_DIR/problem" ] && { say "$(cat "$JOB_DIR/problem")"; return 1; }
        kill -0 "$NODES" 2>/dev/null || { say "srun ended before Ray was up"; return 1; }
        sleep 0.2
    done
    UP=1
}

lost() { # whether something has ended what would have gone on: then another try may help
    [ "$STATUS" -gt 128 ] && return 0                       # the driver was killed
    [ -n "$UP" ] && { [ -s "$JOB_DIR/problem" ] || ! kill -0 "$NODES" 2>/dev/null; }    # or Ray under it
}

announce() {
    local port
    port=$(cat "$JOB_DIR/dashboard")
    say "Ray is up on $(hostname), nodes: ${SLURM_JOB_NODELIST:-}. Dashboard, from your own machine:"
    say "    ssh -N -L 8265:127.0.0.1:$port -J LOGIN_NODE $(hostname)     then http://127.0.0.1:8265"
    say "    its token is in $JOB_DIR/token"
}

# ---- the scan, again if Ray is lost under it
attempt() {
    start_nodes
    if ray_is_up; then
        export RAYDNNR_ADDRESS
        RAYDNNR_ADDRESS=$(cat "$JOB_DIR/address")
        announce
        "${PYTHON[@]}" -m raydnnr.run "${ARGUMENTS[@]}" &
        DRIVER=$!
        [ -n "$STOP" ] && kill -TERM "$DRIVER"
        ended "$DRIVER"
        STATUS=$?
        DRIVER=
        case $STATUS in 1 | 2) sleep 3 ;; esac    # for the head node to notice that its Ray is gone
    else
        STATUS=$([ -n "$STOP" ] && echo 85 || echo 1)
    fi
    LOST=$(lost && echo 1)
    stop_nodes
    if [ "$STATUS" = 1 ]; then tail -n 3 "$JOB_DIR"/node-*.log; fi
}

say "job $SLURM_JOB_ID, restart ${SLURM_RESTART_COUNT:-0}, on $RAYDNNR_NODES nodes: ${ARGUMENTS[*]}"
for try in 0 1 2 3 4 5; do
    export RAYDNNR_TRY=${SLURM_RESTART_COUNT:-0}.$try
    attempt
    say "ended with status $STATUS"
    case $STATUS in 0 | 3 | 85 | 130) break ;; esac
    [ -n "$STOP" ] && { STATUS=85; break; }
    [ -n "$LOST" ] || { say "nothing was lost: another try would end in the same way"; break; }
    say "Ray or the driver was lost; what was finished is saved. Once more"
    sleep $((2 * try))
done

case $STATUS in
    0 | 2 | 3 | 85) rm -rf "$JOB_DIR" ;;
    *)
        rm -f "$JOB_DIR/token" && touch "$JOB_DIR/kept"
        say "what the nodes said is in $JOB_DIR"
        ;;
esac
if [ "$STATUS" = 85 ] && [ -n "$REQUEUE" ]; then
    say "time is up: requeue"
    sleep 60 & SLEEP=$!
    trap 'kill "$SLEEP"; exit 85' TERM    # which is what the requeue brings us
    scontrol requeue "$SLURM_JOB_ID" && wait "$SLEEP"
    say "it was not requeued; submit it again to go on"
fi
exit "$STATUS"
