"""How the mixture is trained beside the networks: one file a scheme, one line each here."""

from gmvae_fast.training.schemes.base import Scheme as Scheme
from gmvae_fast.training.schemes.block import Block
from gmvae_fast.training.schemes.joint import Joint
from gmvae_fast.training.schemes.means import Means

#: By the names in `gmvae_fast.train_config.SCHEMES`.
REGISTRY: dict[str, type[Scheme]] = {"block": Block, "means": Means, "joint": Joint}
