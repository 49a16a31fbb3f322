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

# ---- where this script is, of which Slurm runs a copy, and where it works
SCRIPT=${BASH_SOURCE[0]}
case $SCRIPT in */slurm_script)
    job=$(scontrol show job "$SLURM_JOB_ID")
    SCRIPT=$(sed -n 's/^ *Command=//p;T;q' <<< "$job")
    SCRIPT=${SCRIPT%" $*"}
    folder=$(sed -n 's/^ *WorkDir=//p;T;q' <<< "$job")
    cd "${folder:=$SLURM_SUBMIT_DIR}" || { say "$folder cannot be reached from $(hostname)"; exit 1; }
    ;;
esac
HERE=${RAYDNNR_SLURM:-$(cd "$(dirname "$SCRIPT")" 2>/dev/null && pwd)}

# ---- the site's settings
PYTHON=(python)
SBATCH_OPTIONS=()
SITE=${RAYDNNR_SITE:-$HERE/site.sh}
site() { # as the scripts of modules and conda expect it: without our arguments, and not so strict
    set +u
    . "$SITE"
    set -u
}
if [ -f "$SITE" ]; then
    site
elif [ -n "${RAYDNNR_SITE:-}" ]; then
    say "there is no file $SITE, which RAYDNNR_SITE names"
    exit 2
fi
export RAYDNNR_TMP=${RAYDNNR_TMP:-/tmp}

if [ -z "${SLURM_JOB_ID:-}" ]; then
    exec sbatch "${SBATCH_OPTIONS[@]}" "$HERE/launch.sh" "$@"
fi
if [ $# = 0 ]; then
    say "usage: sbatch [options] slurm/launch.sh CONFIG.toml [run options]"
    exit 2
fi
ARGUMENTS=("${@//%a/${SLURM_ARRAY_TASK_ID:-0}}")
if [ -z "${SLURMD_NODENAME:-}" ] && ! scontrol show hostnames "$SLURM_JOB_NODELIST" | grep -qxF "$(hostname)"; then
    say "$(hostname) is not one of the job's machines, $SLURM_JOB_NODELIST: use sbatch, or a shell on one of them"
    exit 2
fi

# ---- what this job's processes tell each other, and nobody else
umask 077
JOB_DIR=$PWD/.raydnnr-job-$SLURM_JOB_ID
is_over() { # whether Slurm says so; not whether it says nothing because it is too busy
    local said
    said=$(squeue -h -j "$1" 2>&1) && [ -z "$said" ] || [[ $said == *"Invalid job id"* ]]
}
for old in .raydnnr-job-*; do    # of jobs that were killed
    [ -d "$old" ] && [ ! -e "$old/kept" ] && [ -O "$old" ] && is_over "${old##*-}" && rm -rf "$old"
done
export RAYDNNR_JOB=$SLURM_JOB_ID
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$JOB_DIR/token
unset RAY_AUTH_TOKEN RAY_ADDRESS

# ---- signals: whoever waits is woken, the driver is told
DRIVER='' NODES='' INTERRUPTED='' STOP='' REQUEUE=''
on_signal() {
    say "SIG$1 received"
    INTERRUPTED=1 STOP=1
    [ "$1" = USR1 ] && REQUEUE=$SECONDS    # which is how long the job has run
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
SILENT=() PARTS=''
count_nodes() { # which the job has now, and which answer: for srun, by parts of a heterogeneous job, and for Ray
    local k=0 n total=0 part list
    PARTS=
    while read -r _ list; do
        n=$(scontrol show hostnames "$list" | grep -cvxF "$(printf '%s\n' "${SILENT[@]:--}")")
        part=${SLURM_HET_SIZE:+_HET_GROUP_$k}
        export "SLURM_NNODES$part=$n" "SLURM_JOB_NUM_NODES$part=$n"
        [ "$n" -gt 0 ] && PARTS=$PARTS${PARTS:+,}$k
        k=$((k + 1)) total=$((total + n))
    done < <(squeue -h -j "$SLURM_JOB_ID" -o '%i %N' 2>/dev/null | sort -t+ -k2n)
    export RAYDNNR_NODES=$total
    # on a single machine Ray listens on the loopback only (raydnnr/cluster/environment.py)
    unset RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER
    [ "$total" = 1 ] && export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0
}

on_every_node() { # OUTPUT COMMAND...: a step of one task per node, with all that the job has there
    local output=$1 options=()
    shift
    [ -n "${SLURM_HET_SIZE:-}" ] && options=("--het-group=$PARTS")
    [ ${#SILENT[@]} -gt 0 ] && options+=("--exclude=$(IFS=,; echo "${SILENT[*]}")")
    # of the batch step, and not true of ours
    unset "${!SLURM_NTASKS@}" "${!SLURM_NPROCS@}" "${!SLURM_TASKS_PER_NODE@}" "${!SLURM_MEM_PER@}" "${!SLURM_CPU_BIND@}"
    exec srun "${options[@]}" --export=ALL --ntasks-per-node=1 --whole --overlap --mem=0 --cpu-bind=none --no-kill \
        --kill-on-bad-exit=0 --wait=0 --output="$output" "$@" 2>> "$JOB_DIR/srun.log"
}

find_silent() { # nodes on which Slurm could start nothing, for which it ended the whole step; whether there are any
    local node found=1
    cat "$JOB_DIR/srun.log"
    for node in $(sed -n 's/.*Task launch for .* failed on node \([^:]*\):.*/\1/p' "$JOB_DIR/srun.log" | sort -u); do
        say "node $node does not answer: the job goes on without it"
        SILENT+=("$node") found=0
    done
    : > "$JOB_DIR/srun.log"
    return "$found"
}

start_nodes() {
    rm -rf "$JOB_DIR" && mkdir "$JOB_DIR" && touch "$JOB_DIR/srun.log" || exit 1
    head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$JOB_DIR/token"
    (on_every_node "$JOB_DIR/node-%N.log" bash -c "$NODE" node "${SLURMD_NODENAME:-$(hostname)}" "$JOB_DIR" "${PYTHON[@]}") &
    NODES=$!
}
NODE='
head=$1 job_dir=$2; shift 2
trap : TERM INT USR1    # Python is told, too, and waited for
options=(--cpus "${SLURM_CPUS_ON_NODE:-$(nproc)}" --gpus "${SLURM_GPUS_ON_NODE:-0}")
if [ "$RAYDNNR_NODES" = 1 ]; then
    options+=(--address 127.0.0.1)
elif [ -n "${RAYDNNR_INTERFACE:-}" ]; then
    options+=(--address "$(ip -4 -o addr show "$RAYDNNR_INTERFACE" | sed "s/.* inet \([0-9.]*\).*/\1/;q")")
fi
if [ "${SLURMD_NODENAME:-$(hostname)}" = "$head" ]; then
    "$@" -m raydnnr.cluster.node "$job_dir" --head "${options[@]}"
    status=$?
    echo "$status" > "$job_dir/head-ended"
    exit "$status"
fi
secret=$(cat "$job_dir/token")
over() { [ -e "$job_dir/end" ] || [ "$(cat "$job_dir/token" 2>/dev/null)" != "$secret" ]; }
while "$@" -m raydnnr.cluster.node "$job_dir" "${options[@]}"
    status=$?
    ! over && { [ "$status" -gt 128 ] || [ "$status" = 69 ]; }; do    # it was killed, or the head is gone: once more
    if [ "$status" = 69 ]; then
        nodes=$(squeue -h -j "$RAYDNNR_JOB" -o %N | paste -sd,)
        [ -n "$nodes" ] && ! scontrol show hostnames "$nodes" | grep -qxF "$head" &&
            echo "$head is lost, and the driver with it: requeue" && scontrol requeue "$RAYDNNR_JOB"
    fi
    sleep 1
done
[ "$status" = 0 ] || over || echo "$status" > "$job_dir/left-${SLURMD_NODENAME:-$(hostname)}"
exit "$status"
'

say_who_left() { # of the nodes: the scan goes on without them, and nobody else would say so
    local left node
    while sleep 2 && kill -0 "$$" 2>/dev/null; do
        for left in "$JOB_DIR"/left-*; do
            [ -e "$left" ] || continue
            node=${left##*/left-}
            say "node $node is not used: Ray does not run there (status $(cat "$left"))"
            tail -n 3 "$JOB_DIR/node-$node.log"
            rm "$left"
        done
    done
}

ends_within() { # SECONDS PID
    for _ in $(seq $(($1 * 10))); do kill -0 "$2" 2>/dev/null || return 0; sleep 0.1; done
    return 1
}

end_step() { # SECONDS PID: wait for a step to end; then end it the hard way, and let Slurm worry about dead nodes
    ends_within "$1" "$2" || kill -TERM "$2" 2>/dev/null
    ends_within 5 "$2" || kill -KILL "$2" 2>/dev/null
    wait "$2" 2>/dev/null
}

stop_nodes() { # and remove what is left of those that were killed
    touch "$JOB_DIR/end"
    end_step 10 "$NODES"
    find_silent
    for _ in 1 2 3; do
        count_nodes
        (on_every_node "$JOB_DIR/sweep-%N.log" "${PYTHON[@]}" -m raydnnr.cluster.node "$JOB_DIR" --sweep) &
        end_step 30 "$!"
        find_silent || break
    done
}

ray_is_up() {
    UP=
    until [ -s "$JOB_DIR/address" ]; do
        [ -n "$STOP" ] && return 1
        [ -s "$JOB_DIR/problem" ] && { say "$(cat "$JOB_DIR/problem")"; return 1; }
        if [ -s "$JOB_DIR/head-ended" ] || ! kill -0 "$NODES" 2>/dev/null; then
            say "the first node ended before Ray was up"
            return 1
        fi
        sleep 0.2
    done
    UP=1
}

ray_answers() { (exec 3<> "/dev/tcp/${RAYDNNR_ADDRESS%:*}/${RAYDNNR_ADDRESS##*:}") 2>/dev/null; }

lost() { # whether something has ended what would have gone on: then another try may help
    if [ -n "$UP" ]; then
        [ "$STATUS" -gt 128 ] || ! ray_answers    # the driver was killed, or Ray under it
    elif [ -s "$JOB_DIR/problem" ]; then
        return 1    # the first node has tried often enough
    else
        case $(cat "$JOB_DIR/head-ended" 2>/dev/null) in
            [1-9] | [1-9][0-9] | 1[01][0-9] | 12[0-8]) return 1 ;;    # the first node ended by itself, with an error
        esac
    fi
}

announce() {
    local port
    port=$(cat "$JOB_DIR/dashboard")
    say "Ray is up on $(hostname), nodes: $RAYDNNR_NODES. Dashboard, from your own machine:"
    say "    ssh -N -L 8265:127.0.0.1:$port -J LOGIN_NODE $(hostname)     then http://127.0.0.1:8265"
    say "    its token is in $JOB_DIR/token"
}

# ---- the scan, again if Ray is lost under it
attempt() {
    count_nodes
    start_nodes
    if ray_is_up; then
        export RAYDNNR_ADDRESS
        RAYDNNR_ADDRESS=$(cat "$JOB_DIR/address")
        announce
        "${PYTHON[@]}" -m raydnnr.run "${ARGUMENTS[@]}" &
        DRIVER=$!
        [ -n "$STOP" ] && kill -TERM "$DRIVER"
        say_who_left &
        WATCHER=$!
        ended "$DRIVER"
        STATUS=$?
        DRIVER=
        kill "$WATCHER" 2>/dev/null
        case $STATUS in 1 | 2) sleep 3 ;; esac    # for the head node to notice that its Ray is gone
    else
        STATUS=$([ -n "$STOP" ] && echo 85 || echo 1)
    fi
    LOST=$(lost && echo 1)
    stop_nodes
    if [ "$STATUS" = 1 ]; then tail -n 3 "$JOB_DIR"/node-*.log; fi
}

say "job $SLURM_JOB_ID, restart ${SLURM_RESTART_COUNT:-0}, on ${SLURM_JOB_NODELIST:-}: ${ARGUMENTS[*]}"
losses=0
for ((try = 0; ; try++)); do
    export RAYDNNR_TRY=${SLURM_RESTART_COUNT:-0}.$try
    began=$SECONDS
    attempt
    say "ended with status $STATUS"
    case $STATUS in 0 | 3 | 85 | 130) break ;; esac
    [ -n "$STOP" ] && { STATUS=85; break; }
    [ -n "$LOST" ] || { say "nothing was lost: another try would end in the same way"; break; }
    [ $((SECONDS - began)) -gt 600 ] && losses=0    # the last one is long ago
    [ $((losses += 1)) -gt 5 ] && { say "that was the sixth time in a row: given up"; break; }
    say "Ray or the driver was lost; what was finished is saved. Once more"
    sleep $((2 * losses - 2))
done

case $STATUS in
    0 | 2 | 3 | 85) rm -rf "$JOB_DIR" ;;
    *)
        rm -f "$JOB_DIR/token" && touch "$JOB_DIR/kept"
        say "what the nodes said is in $JOB_DIR"
        ;;
esac
if [ "$STATUS" = 85 ] && [ -n "$REQUEUE" ] && [ "$REQUEUE" -lt 60 ] && [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    say "time was up $REQUEUE s after the start, so that a requeue gains nothing: the time limit must be longer than the"
    say "five minutes before it (or --signal=B:USR1@60). Submit it again to go on"
elif [ "$STATUS" = 85 ] && [ -n "$REQUEUE" ]; then
    say "time is up: requeue"
    sleep 60 & SLEEP=$!
    trap 'kill "$SLEEP"; exit 85' TERM    # which is what the requeue brings us
    scontrol requeue "$SLURM_JOB_ID" && wait "$SLEEP"
    say "it was not requeued; submit it again to go on"
fi
exit "$STATUS"
