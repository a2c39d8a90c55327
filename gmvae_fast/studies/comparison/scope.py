"""What a study is about: names that a caller gave, checked, and what they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gmvae_fast._checks import nearest
from gmvae_fast.studies.comparison.arms import ARMS, REFERENCE
from gmvae_fast.studies.comparison.cases import CASES, SYSTEMS, StudyCase
from gmvae_fast.studies.comparison.plan import plan_units
from gmvae_fast.studies.comparison.protocol import PROFILES, Profile
from gmvae_fast.studies.comparison.units import Unit


@dataclass(frozen=True)
class Scope:
    """Cases by name, profile, and names of arms in the registry's order, the reference arm among them."""

    cases: Mapping[str, StudyCase]
    profile: Profile
    arms: tuple[str, ...]

    @staticmethod
    def of(system: str, profile: str | Profile, arms: Sequence[str] | None) -> Scope:
        """From names.

        Raises
        ------
        ValueError
            For unknown names; the message lists the known ones, and which of them was probably meant.
        """
        if system not in SYSTEMS:
            raise ValueError(f"system must be one of {', '.join(SYSTEMS)}, got {system!r}{nearest(system, SYSTEMS)}")
        for name in arms or ():
            if name not in ARMS:
                raise ValueError(f"arms must be of {', '.join(ARMS)}, got {name!r}{nearest(name, ARMS)}")
        if not isinstance(profile, Profile):
            if profile not in PROFILES:
                hint = nearest(profile, PROFILES)
                raise ValueError(f"profile must be one of {', '.join(PROFILES)}, got {profile!r}{hint}")
            profile = PROFILES[profile]
        chosen = tuple(name for name in ARMS if arms is None or name in arms or name == REFERENCE)
        return Scope({name: CASES[name] for name in SYSTEMS[system]}, profile, chosen)

    def units(self) -> list[Unit]:
        """See `plan_units`."""
        return plan_units(list(self.cases.values()), self.profile, self.arms)
