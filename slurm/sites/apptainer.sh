# Everything in a container image: Python, raydnnr, the physics codes. PYTHON is the command that runs Python on a node.
# The image needs `pip install raydnnr`; Slurm's own commands are used outside of it only.
SBATCH_OPTIONS=(--account=ab0123 --partition=shared --time=08:00:00 --nodes=2 --ntasks-per-node=1 --cpus-per-task=32)

IMAGE=$HOME/images/raydnnr.sif
PYTHON=(apptainer exec --bind "$PWD" --bind /tmp --bind /dev/shm "$IMAGE" python)
# PYTHON=(apptainer exec --nv ...)    where there are GPUs
