"""What is known of the problems' good regions: their share of the prior, points in them, and the radius r90.

    python benchmarks/make_references.py cracked6 haystack24     # these two
    python benchmarks/make_references.py --out /tmp/ref          # all, elsewhere than in problems/ref/

Uniform points of the unit cube are drawn until 1500 of them are good (brute force). Where that would take more than
100 million, repeated subset simulations estimate the share, and their last levels start Markov chains that fill the
good region evenly. 500 points are the reference; 1000 others play the ideal sampler, and r90 is the distance within
which these have a share of 0.90 of the reference. Seeds are fixed: the same files come out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from problems import ALL
from problems.problem import IDEAL_COVERAGE, N_IDEAL, REFERENCES, Problem
from scipy.spatial import cKDTree
from subset_simulation import Subset, subset_simulation

Array = NDArray[np.float64]

N_REFERENCE = 500
MAX_DRAWN = 100_000_000
CHUNK = 200_000
RUNS, POINTS_PER_LEVEL = 32, 100_000  # of the subset simulation
SWEEPS = 6000  # of the Markov chains
MAX_ERROR = 0.08  # of the mean of the points, in widths of the region


@dataclass(frozen=True)
class Region:
    """A good region: share of the prior, standard error, uniform points, how many were drawn, and how."""

    fraction: float
    error: float
    points: Array
    n_drawn: int
    method: str


def brute_force(problem: Problem, rng: np.random.Generator, n_good: int) -> Region | None:
    """Uniform points until ``n_good`` are good; None where a tenth of `MAX_DRAWN` shows that it would take too long."""
    found: list[Array] = []
    n_found = n_drawn = 0
    while n_found < n_good:
        u = rng.random((CHUNK, problem.space.n_params))
        good = u[problem.nll(u) < problem.threshold_value]
        found.append(good)
        n_found, n_drawn = n_found + len(good), n_drawn + CHUNK
        if n_drawn >= MAX_DRAWN / 10 and n_found < n_good / 10:
            return None
    return Region(n_found / n_drawn, float(np.sqrt(n_found)) / n_drawn, np.concatenate(found), n_drawn, "brute force")


def by_subsets(problem: Problem, rng: np.random.Generator, n_good: int) -> Region:
    """Repeated subset simulations, then Markov chains from their last levels.

    Every run is unbiased, so their mean is the share and their spread its error; a run starts chains in proportion to
    what it found.
    """
    runs = [subset_simulation(problem.nll, problem.space.n_params, problem.threshold_value, rng,
                              n_points=POINTS_PER_LEVEL) for _ in range(RUNS)]
    probabilities = np.array([run.probability for run in runs])
    print(f"  subset simulations: {', '.join(f'{p:.2e}' for p in probabilities)}")
    starts, run_of = _starts(runs, n_good, rng)
    points = _walked(problem, starts, rng)
    moved = np.abs(points - starts).mean(axis=0) / np.abs(points - rng.permutation(points)).mean(axis=0)
    error = uncertainty(points, run_of)
    print(f"  chains: moved by {moved.min():.2f} to {moved.max():.2f} of the region's width; mean known to {error:.3f} "
          "widths")
    if error > MAX_ERROR:
        raise SystemExit(f"{problem.name}: the runs disagree ({error:.3f} > {MAX_ERROR} widths); use more of them")
    return Region(float(probabilities.mean()), float(probabilities.std(ddof=1) / np.sqrt(RUNS)), points,
                  sum(run.evaluations for run in runs), f"{RUNS} subset simulations and Markov chains")


def r90(points: Array, ideal: Array) -> float:
    """Distance within which ``ideal`` has `IDEAL_COVERAGE` of ``points``."""
    return float(np.quantile(cKDTree(ideal).query(points)[0], IDEAL_COVERAGE))


def uncertainty(points: Array, run: NDArray[np.int64]) -> float:
    """Standard error of the mean of points (N, P), in widths of their distribution, on the worst axis.

    From the scatter of the independent runs that the points began in, so that it counts what chains still remember of
    the few seeds a run lived on. N independent points have ``1 / sqrt(N)``.
    """
    runs = np.unique(run)
    means = np.array([points[run == k].mean(axis=0) for k in runs])
    return float(np.max(means.std(axis=0, ddof=1) / points.std(axis=0)) / np.sqrt(len(runs)))


def _starts(runs: Sequence[Subset], n: int, rng: np.random.Generator) -> tuple[Array, NDArray[np.int64]]:
    """Points (n, P), and the run each is from."""
    shares = rng.multinomial(n, np.array([r.probability for r in runs]) / sum(r.probability for r in runs))
    points = [run.u[rng.integers(len(run.u), size=share)] for run, share in zip(runs, shares, strict=True)]
    return np.concatenate(points), np.repeat(np.arange(len(runs)), shares)


def _walked(problem: Problem, u: Array, rng: np.random.Generator) -> Array:
    """The last state of chains that walk the good region: two in three steps are differential evolution, with a jump
    by the whole difference every tenth time; the others are along one axis."""
    u, n_params = u.copy(), u.shape[1]
    halves = np.array_split(rng.permutation(len(u)), 2)
    for sweep in range(SWEEPS):
        for mine, others in (halves, halves[::-1]):
            if sweep % 3:
                a, b = u[rng.choice(others, (2, len(mine)))]
                gamma = 1.0 if sweep % 10 == 0 else 10 ** rng.uniform(-2.5, 0.0, (len(mine), 1))
                proposed = u[mine] + gamma * (a - b) + rng.normal(0, 1e-5, (len(mine), n_params))
            else:
                proposed = u[mine].copy()
                axis = rng.integers(n_params, size=len(mine))
                width = 10 ** rng.uniform(-3, 0, len(mine))
                proposed[np.arange(len(mine)), axis] += rng.normal(0, width)
            inside = ((proposed >= 0) & (proposed <= 1)).all(axis=1)
            accept = inside & (problem.nll(np.clip(proposed, 0, 1)) < problem.threshold_value)
            u[mine[accept]] = proposed[accept]
    return u


def main() -> None:
    """Write the files."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("problems", nargs="*", choices=[*ALL, []], metavar="PROBLEM", help=", ".join(ALL))
    p.add_argument("--out", type=Path, default=REFERENCES)
    arguments = p.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.problems or ALL:
        print(name, flush=True)
        problem, rng = ALL[name], np.random.default_rng(20260101)
        n_good = N_REFERENCE + N_IDEAL
        region = brute_force(problem, rng, n_good) or by_subsets(problem, rng, n_good)
        chosen = rng.permutation(region.points)[:n_good]
        points, ideal = chosen[:N_REFERENCE], chosen[N_REFERENCE:]
        radius = r90(points, ideal)
        print(f"  good fraction {region.fraction:.3e} +- {region.error:.1e} ({region.method}), r90 {radius:.4f}")
        np.savez_compressed(
            arguments.out / f"{name}.npz", points=points.astype(np.float32), ideal=ideal.astype(np.float32),
            fraction=region.fraction, fraction_error=region.error, r90=radius, n_drawn=region.n_drawn,
            method=region.method)


if __name__ == "__main__":
    main()
