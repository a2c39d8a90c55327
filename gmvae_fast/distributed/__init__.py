"""Training and embedding by several processes, each with its own share of the trajectories; see docs/distributed.md."""

from gmvae_fast.distributed.embedding import embed as embed
from gmvae_fast.distributed.embedding import predict as predict
from gmvae_fast.distributed.embedding import predict_proba as predict_proba
from gmvae_fast.distributed.ranks import RankLost as RankLost
from gmvae_fast.distributed.ranks import Ranks as Ranks
from gmvae_fast.distributed.ranks import joined as joined
from gmvae_fast.distributed.share import Share as Share
from gmvae_fast.distributed.share import owned_rows as owned_rows
