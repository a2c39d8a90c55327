"""What was compared and how, in words, as rows of the result file: the report needs nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import math

from gmvae_fast.data import Snapshots
from gmvae_fast.studies import provenance
from gmvae_fast.studies.comparison import maps
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.rows import Row
from gmvae_fast.studies.comparison.runner import Setting
from gmvae_fast.studies.comparison.store import ResultStore

NAME = "protocol"


def describe(case: StudyCase, setting: Setting, store: ResultStore) -> None:
    """Append the protocol of ``case`` and what its maps are coloured by, unless they stand there already."""
    snapshots = Snapshots.load(setting.data[case.name])
    names = snapshots.attributes.get("label_names", {}).get(case.regime, [])
    texts = {
        **{(NAME, key): text for key, text in protocol_of(case, setting).items()},
        (maps.NAME, "main"): maps.encode_values(snapshots.quantities[case.main_quantity]),
        (maps.NAME, "regime"): maps.encode_values(snapshots.labels[case.regime]),
        (maps.NAME, "classes"): ";".join(map(str, names)),
    }
    digest = hashlib.sha256("\n".join(f"{k}\t{v}" for k, v in texts.items()).encode()).hexdigest()[:16]
    if digest not in store:
        store.append(
            [
                Row(
                    case.name,
                    "",
                    NAME,
                    -1,
                    question,
                    key,
                    text,
                    math.nan,
                    digest,
                    setting.revision,
                    setting.versions,
                    0.0,
                )
                for (question, key), text in texts.items()
            ]
        )


def protocol_of(case: StudyCase, setting: Setting) -> dict[str, str]:
    """Heading -> text."""
    profile, model, training = setting.profile, case.model, case.training
    scale = case.scales[profile.name]
    graph = profile.graph
    options = {**case.simulate, **scale.simulate}
    default = type(training)()
    changed = {f.name: getattr(training, f.name) for f in dataclasses.fields(training)
               if getattr(training, f.name) != getattr(default, f.name)}  # fmt: skip
    return {
        "profile": profile.name,
        "data": f"{case.system}, " + ", ".join(f"{k} = {v}" for k, v in options.items()),
        "preparation": case.preparation_in(profile.name),
        "networks": f"{model.network}, widths {model.widths}, D = {model.latent_dim}, K = {model.n_components}, "
        f"covariances {model.covariance_type}, noise variance {'learnt' if model.learn_noise else '1'}",
        "budget": f"{scale.epochs} epochs of every arm with networks; wall times stand beside the results",
        "training": ", ".join(f"{k} = {v}" for k, v in changed.items()) or "defaults",
        "split": f"{profile.test_fraction:.0%} of the trajectories held out, by seed"
        + (f", each class of {case.stratify} in both parts" if case.stratify else ""),
        "seeds": ", ".join(map(str, profile.seeds)),
        "graph": f"{graph.n_neighbors} neighbours, union, binary weights; {graph.modes} modes",
        "machine": ", ".join(f"{k}: {v}" for k, v in provenance.machine().items()),
        "command": provenance.command_line(),
    }
