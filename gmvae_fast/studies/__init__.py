"""Studies: train on several seeds, embed, score, and collect what the report shows."""

from gmvae_fast.studies.demo import run_demo as run_demo
from gmvae_fast.studies.folder import StudyError as StudyError
from gmvae_fast.studies.folder import StudyFolder as StudyFolder
from gmvae_fast.studies.presets import PRESETS as PRESETS
from gmvae_fast.studies.presets import DemoPreset as DemoPreset
from gmvae_fast.studies.stages import ModelConfig as ModelConfig
from gmvae_fast.studies.stages import ScoreConfig as ScoreConfig
from gmvae_fast.studies.stages import embed_seed as embed_seed
from gmvae_fast.studies.stages import score_seed as score_seed
from gmvae_fast.studies.stages import summarise as summarise
from gmvae_fast.studies.stages import train_seed as train_seed
