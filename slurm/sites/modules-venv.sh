# A cluster with environment modules, and raydnnr in a virtual environment on the shared file system.
# cp slurm/sites/modules-venv.sh slurm/site.sh, then change what differs.
SBATCH_OPTIONS=(--account=ab0123 --partition=compute --time=24:00:00 --nodes=4 --exclusive)

if [ -n "${SLURM_JOB_ID:-}" ]; then   # the login node needs none of it
    module purge
    module load python/3.11 gcc/13
    . "$HOME/venvs/raydnnr/bin/activate"
    export PATH=$HOME/codes/SPheno-4.0.5/bin:$PATH
fi
RAYDNNR_TMP=/tmp                      # node-local, and a short path
