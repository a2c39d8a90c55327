"""New fields: at given physical conditions, by the model and by what it has to beat, and of one regime."""

from gmvae_fast.generation.conditional import ConditionalDistribution as ConditionalDistribution
from gmvae_fast.generation.conditional import ConditionalGenerator as ConditionalGenerator
from gmvae_fast.generation.conditions import Generator as Generator
from gmvae_fast.generation.neighbours import NeighbourInterpolation as NeighbourInterpolation
from gmvae_fast.generation.pod import PodRegression as PodRegression
from gmvae_fast.generation.regimes import RegimeRecall as RegimeRecall
from gmvae_fast.generation.regimes import regime_recall as regime_recall
