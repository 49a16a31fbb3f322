# CPUs for the physics, one GPU for the trainer: two groups of nodes in one job (a heterogeneous job). The first group
# is the head node's; `:` divides them. Where CPUs and GPUs share a node, `--nodes=2 --exclusive --gres=gpu:1` will do.
SBATCH_OPTIONS=(
    --account=ab0123 --time=12:00:00
    --partition=gpu --nodes=1 --cpus-per-task=8 --gres=gpu:1
    :
    --partition=cpu --nodes=8 --exclusive
)

if [ -n "${SLURM_JOB_ID:-}" ]; then
    . "$HOME/miniforge3/etc/profile.d/conda.sh"
    conda activate raydnnr
fi
RAYDNNR_TMP=${LOCAL_SCRATCH:-/tmp}    # too long a path is not used, and the log says so
RAYDNNR_INTERFACE=ib0                 # nodes that have several networks: the one they reach each other by
export RAYDNNR_INTERFACE
