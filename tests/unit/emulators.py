"""Surrogates that tests share: observables that are known functions of the unit cube, and emulators learned from them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from raydnnr.likelihoods import Gauss, Off, Upper, get_losses
from raydnnr.surrogates.emulator import Emulator, Target, constrained
from raydnnr.surrogates.gaussian_process import GaussianProcess
from raydnnr.surrogates.kernels import Lengths
from raydnnr.surrogates.learning import Rows
from raydnnr.surrogates.targets import Scale

SHELL = {"r": Gauss(mean=0.35, sigma=0.02)}
LIKELIHOODS = {"r": Gauss(mean=0.35, sigma=0.02), "note": Off(), "s": Upper(mean=1.5, sigma=0.05)}


def radius(u):
    """Distance to the middle of the cube: its shells are known exactly."""
    return np.sqrt(((u - 0.5) ** 2).sum(axis=1))


def observables(u, likelihoods):
    """Columns of `LIKELIHOODS` or `SHELL`: a distance, a note, a sum."""
    known = {"r": radius(u), "note": np.full(len(u), 7.0), "s": u.sum(axis=1)}
    return np.stack([known[name] for name in likelihoods], axis=1)


def rows(n=80, n_params=2, seed=0, likelihoods=LIKELIHOODS, valid=lambda u: np.ones(len(u), dtype=bool)):
    """Finished rows at random points; where they are not valid nothing was computed."""
    u = np.random.default_rng(seed).random((n, n_params))
    ok, o = valid(u), observables(u, likelihoods)
    o[~ok] = math.nan
    losses = get_losses({name: o[:, k] for k, name in enumerate(likelihoods)}, likelihoods)
    nll = np.sum(list(losses.values()), axis=0)
    return Rows(u, o, np.where(ok, nll, np.inf), ok)


def emulator(n=80, n_params=2, seed=0, likelihoods=LIKELIHOODS, threshold=1.0, bent=math.inf,
             valid=lambda u: np.ones(len(u), dtype=bool), adapted=False):
    """Models of fixed lengths on random rows."""
    known = rows(n, n_params, seed, likelihoods, valid)
    lengths = Lengths(np.full(n_params, 0.8), 1e-7)
    if adapted:
        turn = np.eye(n_params) + 0.2 * np.tri(n_params, k=-1)
        lengths = replace(lengths, turn=turn, stretch=np.linspace(-0.5, 0.5, n_params))
    targets = []
    for column in constrained(likelihoods):
        there = np.isfinite(known.observables[:, column])
        o = known.observables[there, column]
        scale = Scale(float(np.median(o)), bent, 0.1, 0.5, 0.2)
        targets.append(Target(column, scale, GaussianProcess(lengths, known.u[there], scale.forward(o))))
    validity = None
    if not known.ok.all():
        validity = GaussianProcess(Lengths(np.full(n_params, 0.5), 1e-4), known.u, np.where(known.ok, 1.0, -1.0))
    return Emulator(likelihoods, threshold, targets, validity, np.zeros(len(targets)))
