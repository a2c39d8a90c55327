"""The smallest piece of a study: one arm on one seed of one case, and what its result depends on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from gmvae_fast._io import to_jsonable
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.protocol import PROTOCOL_VERSION, Profile

#: Fields of a profile that say which units there are, not what one measures.
_OF_THE_PLAN = ("name", "seeds", "learning_rates")


@dataclass(frozen=True)
class Unit:
    """What is measured and stored together.

    Attributes
    ----------
    case, arm : str
    seed : int
    task : str
        "arm": train the arm and ask every question about it. Else the name of the question whose own work it is.
    setting : str
        What sets the unit apart from the arm's common one, as readers see it; empty for those.
    options : tuple of (name, value)
        What ``setting`` means to the task.
    """

    case: str
    arm: str
    seed: int
    task: str = "arm"
    setting: str = ""
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.case}, {self.arm}{f' ({self.setting})' if self.setting else ''}, seed {self.seed}"


def config_hash(unit: Unit, case: StudyCase, profile: Profile) -> str:
    """Of everything that the unit's numbers depend on, the code aside."""
    described = {
        "protocol": PROTOCOL_VERSION,
        "unit": dataclasses.asdict(unit),
        "case": {
            "simulate": {**case.simulate, **case.scales[profile.name].simulate},
            "epochs": case.scales[profile.name].epochs,
            "preparation": case.preparation_in(profile.name),
            **{
                name: getattr(case, name)
                for name in ("system", "regime", "n_regimes", "main_quantity", "stratify", "by_run")
            },
            "conditions": [*case.conditions, case.held_out_condition],
            "model": dataclasses.asdict(case.model),
            "training": dataclasses.asdict(case.training),
        },
        "profile": {k: v for k, v in dataclasses.asdict(profile).items() if k not in _OF_THE_PLAN},
    }
    text = json.dumps(to_jsonable(described), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
