"""What every arm of a study shares: how often, on which graph, with which split. Part of every configuration hash."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Changes when the numbers that a unit measures change though its settings do not.
PROTOCOL_VERSION = 3


@dataclass(frozen=True)
class GraphSettings:
    """Of the smoothness scores; the variants beside the first are what rankings are checked with.

    Attributes
    ----------
    n_neighbors : int
        With binary weights, symmetrised by union.
    other_neighbors : tuple of int
    modes : int
        m of the low-frequency energy E_m.
    """

    n_neighbors: int = 10
    other_neighbors: tuple[int, ...] = (5, 20)
    modes: int = 20


@dataclass(frozen=True)
class Profile:
    """How much is done.

    Attributes
    ----------
    name : {"quick", "full", "tiny"}
    seeds : tuple of int
        Of the split, the weights, the batches and the draws of an arm.
    test_fraction : float
        Share of the trajectories held out from training.
    graph : GraphSettings
    learning_rates : tuple of float
        Of the grid of sensitivity, in units of the case's own; a unit of the grid carries its own, so this is no part
        of any hash.
    """

    name: str
    seeds: tuple[int, ...]
    test_fraction: float = 0.2
    graph: GraphSettings = field(default_factory=GraphSettings)
    learning_rates: tuple[float, ...] = (0.25, 1.0, 4.0)


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("quick", seeds=tuple(range(5))),
        Profile("full", seeds=tuple(range(10))),
        Profile(
            "tiny",
            seeds=(0, 1),
            graph=GraphSettings(n_neighbors=5, other_neighbors=(3,), modes=5),
            learning_rates=(1.0,),
        ),
    )
}
