"""Rough supersymmetric physics in plain numpy: parameter points in, observables out.

The model is the MSSM with one scalar mass ``m0``, one gaugino mass ``m12`` and one trilinear coupling ``A0`` at the
unification scale, and ``tanb`` and the higgsino mass ``mu`` at the weak scale. Masses are good to 10 % or so, the
relic density to a factor of two: enough to give the scan the true shape of such a problem (a thin Higgs-mass band, a
relic density with three separate solutions, a region without any spectrum), and nothing to publish.

Masses in GeV. The scan calls `observables` with arrays of many points at once (``vectorized = true``); a NaN says that
the physics does not exist at that point.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MZ, MW, MT, MB, MTAU = 91.19, 80.37, 164.0, 2.8, 1.777  # MT and MB run: they are taken at the weak scale
V = 246.2  # Higgs vacuum expectation value
SIN2_W = 0.231
G = 2 * MW / V  # weak coupling
ALPHA_S = 0.109  # at the top mass
FREEZE_OUT = 25.0  # mass over temperature when the dark matter stops annihilating
GEV2_IN_CM2 = 3.894e-28  # 1 / GeV^2


def observables(point: Mapping[str, Array]) -> dict[str, Array]:
    """Masses, relic density and direct detection of parameter points.

    Args:
        point: Arrays of shape (N,) under the names m0, m12, A0, tanb, mu.

    Returns:
        Arrays of shape (N,), NaN throughout where a squark or slepton is a tachyon:

        - ``m_h``: light Higgs boson; ``m_gluino``, ``m_stop1``, ``m_stau1``, ``m_chi`` (lightest neutralino);
        - ``log_omega``: log10 of the relic density Omega h^2;
        - ``log_direct``: log10 of the dark matter's cross section with a nucleon over the limit of LZ.
    """
    with np.errstate(all="ignore"):
        return _observables(*(np.asarray(point[name], dtype=float) for name in ("m0", "m12", "A0", "tanb", "mu")))


def _observables(m0: Array, m12: Array, a0: Array, tanb: Array, mu: Array) -> dict[str, Array]:
    m_stop1, m_stop2, mixing = _stops(m0, m12, a0, tanb, mu)
    m_stau1 = _lightest_stau(m0, m12, a0, tanb, mu)
    m_higgs_a = np.sqrt((m0**2 + 0.5 * m12**2) * (1 - (tanb / 62) ** 2) + mu**2)
    masses, states = _neutralinos(0.43 * m12, 0.82 * m12, mu, tanb)
    spectrum = {
        "m_h": _light_higgs(m_stop1, m_stop2, mixing, tanb),
        "m_gluino": 2.35 * m12,
        "m_stop1": m_stop1,
        "m_stau1": m_stau1,
        "m_chi": masses,
        "log_omega": np.log10(_relic_density(masses, states, m12, mu, m0, m_stau1, m_higgs_a, tanb)),
        "log_direct": np.log10(_cross_section(states, tanb) / _lz_limit(masses)),
    }
    exists = np.isfinite(m_stop1 + m_stau1 + m_higgs_a)
    return {name: np.where(exists, value, np.nan) for name, value in spectrum.items()}


def _lighter_and_heavier(left: Array, right: Array, off: Array) -> tuple[Array, Array]:
    """Masses from the squared mass matrix ((left, off), (off, right)); NaN for a tachyon."""
    mean, half = (left + right) / 2, np.hypot((left - right) / 2, off)
    return np.sqrt(mean - half), np.sqrt(mean + half)


def _stops(m0: Array, m12: Array, a0: Array, tanb: Array, mu: Array) -> tuple[Array, Array, Array]:
    """Both stop masses, and their mixing X_t = A_t - mu / tanb. The numbers mimic the running from 2e16 GeV."""
    left = 0.65 * m0**2 + 4.6 * m12**2 - 0.04 * a0**2 + 0.1 * a0 * m12
    right = 0.30 * m0**2 + 3.3 * m12**2 - 0.08 * a0**2 + 0.2 * a0 * m12
    mixing = 0.28 * a0 - 1.7 * m12 - mu / tanb
    return *_lighter_and_heavier(left + MT**2, right + MT**2, MT * mixing), mixing


def _lightest_stau(m0: Array, m12: Array, a0: Array, tanb: Array, mu: Array) -> Array:
    """The Yukawa coupling of the tau, which grows with tanb, makes it lighter than the other sleptons."""
    pull = (tanb / 60) ** 2 * (3 * m0**2 + a0**2) / 9
    left, right = m0**2 + 0.5 * m12**2 - pull, m0**2 + 0.15 * m12**2 - 2 * pull
    return _lighter_and_heavier(left, right, MTAU * (0.7 * a0 - mu * tanb))[0]


def _light_higgs(m_stop1: Array, m_stop2: Array, mixing: Array, tanb: Array) -> Array:
    """One loop with the top mass taken where it sums the leading logarithms, for a heavy second Higgs doublet.

    References:
        Haber, Hempfling, Hoang, hep-ph/9609331.
    """
    scale = np.sqrt(m_stop1 * m_stop2)
    x = (mixing / scale) ** 2
    tree = (MZ * (1 - tanb**2) / (1 + tanb**2)) ** 2
    log = np.log(scale**2 / MT**2)
    top = _top_mass(np.sqrt(MT * scale))
    loops = top**2 * (top**2 - tree / 2) * log + _top_mass(scale) ** 4 * x * (1 - x / 12)
    return np.sqrt(tree + 3 / (2 * np.pi**2 * V**2) * loops)


def _top_mass(scale: Array) -> Array:
    """Running top mass at ``scale``, one loop of QCD with six quarks."""
    return MT * (1 + 7 * ALPHA_S / (4 * np.pi) * np.log(scale**2 / MT**2)) ** (-4 / 7)


def _neutralinos(m1: Array, m2: Array, mu: Array, tanb: Array) -> tuple[Array, Array]:
    """Mass (N,) of the lightest neutralino and its bino, wino and two higgsino components (N, 4); hep-ph/9709356."""
    cos_b, sin_b = 1 / np.hypot(1, tanb), tanb / np.hypot(1, tanb)
    sin_w, cos_w = np.sqrt(SIN2_W), np.sqrt(1 - SIN2_W)
    matrix = np.zeros((*np.shape(m1), 4, 4))
    matrix[..., 0, 0], matrix[..., 1, 1] = m1, m2
    matrix[..., 2, 0], matrix[..., 3, 0] = -MZ * cos_b * sin_w, MZ * sin_b * sin_w
    matrix[..., 2, 1], matrix[..., 3, 1] = MZ * cos_b * cos_w, -MZ * sin_b * cos_w
    matrix[..., 3, 2] = -mu
    masses, states = np.linalg.eigh(matrix)  # reads the lower triangle
    lightest = np.abs(masses).argmin(axis=-1)[..., None]
    mass = np.abs(np.take_along_axis(masses, lightest, axis=-1))[..., 0]
    return mass, np.take_along_axis(states, lightest[..., None], axis=-1)[..., 0]


def _relic_density(m_chi: Array, state: Array, m12: Array, mu: Array, m0: Array, m_stau1: Array, m_a: Array,
                   tanb: Array) -> Array:
    """Omega h^2 when bino, higgsino, wino and stau annihilate in their shares of the thermal bath, and through A.

    References:
        Bino, higgsino and wino alone: Arkani-Hamed, Delgado, Giudice, hep-ph/0601041. Shares at freeze-out: Griest,
        Seckel, Phys. Rev. D 43 (1991) 3191.
    """
    m_slepton = np.sqrt(m0**2 + 0.15 * m12**2)
    r = (m_chi / m_slepton) ** 2
    species = [  # degrees of freedom, mass, Omega h^2 if it were alone
        (2, 0.43 * m12, 1.3e-2 * (m_slepton / 100) ** 2 * (1 + r) ** 4 / (r * (1 + r**2))),
        (8, mu, 0.10 * (m_chi / 1000) ** 2),
        (6, 0.82 * m12, 0.13 * (m_chi / 2500) ** 2),
        (2, m_stau1, 0.19 * (m_chi / 1000) ** 2),
    ]
    lightest = np.minimum(np.minimum(0.43 * m12, mu), m_stau1)
    weights = [g * (m / lightest) ** 1.5 * np.exp(-FREEZE_OUT * (m / lightest - 1)) for g, m, _ in species]
    total = sum(weights)
    rate = sum((w / total) ** 2 / omega for w, (_, _, omega) in zip(weights, species, strict=True))
    return 1 / (rate + _funnel(m_chi, state, m_a, tanb) * (weights[0] + weights[1]) ** 2 / total**2)


def _funnel(m_chi: Array, state: Array, m_a: Array, tanb: Array) -> Array:
    """Rate, in units of 1 / (Omega h^2), of two neutralinos meeting in the pseudoscalar Higgs A (2 m_chi near m_a)."""
    cos_b, sin_b = 1 / np.hypot(1, tanb), tanb / np.hypot(1, tanb)
    to_chi = G * (state[..., 1] - np.sqrt(SIN2_W / (1 - SIN2_W)) * state[..., 0])
    to_chi = to_chi * (state[..., 2] * sin_b - state[..., 3] * cos_b)
    to_b = MB * tanb / V
    width = 3 * to_b**2 * m_a / (8 * np.pi) + 0.02 * m_a  # the second term: thermal motion
    rate = 3 / (2 * np.pi) * (to_chi * to_b * m_chi) ** 2 / ((4 * m_chi**2 - m_a**2) ** 2 + (m_a * width) ** 2)
    return rate / (0.12 * 1.9e-9)  # a rate of 1.9e-9 / GeV^2 leaves 0.12


def _cross_section(state: Array, tanb: Array) -> Array:
    """Spin-independent cross section with a nucleon, cm^2, through the light Higgs (arXiv:1211.4873)."""
    cos_b, sin_b = 1 / np.hypot(1, tanb), tanb / np.hypot(1, tanb)
    coupling = G * (state[..., 1] - np.sqrt(SIN2_W / (1 - SIN2_W)) * state[..., 0])
    coupling = coupling * (state[..., 3] * sin_b - state[..., 2] * cos_b)
    nucleon = 0.938 * 0.30 / V  # mass times the share of it that the Higgs field gives
    return 4 / np.pi * (0.938 * coupling / 2 * nucleon / 125.0**2) ** 2 * GEV2_IN_CM2


def _lz_limit(m_chi: Array) -> Array:
    """Upper limit of LZ, cm^2: 9.2e-48 at 36 GeV (arXiv:2207.03764), and weaker in proportion to the mass above."""
    return 9.2e-48 * np.maximum(m_chi / 36, 1)
