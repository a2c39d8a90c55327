"""The comparison of the GM-VAE with its relatives and with baselines: arms, questions, results with error bars."""

from gmvae_fast.studies.comparison.arms import ARMS as ARMS
from gmvae_fast.studies.comparison.cases import CASES as CASES
from gmvae_fast.studies.comparison.cases import SYSTEMS as SYSTEMS
from gmvae_fast.studies.comparison.estimate import PlannedCase as PlannedCase
from gmvae_fast.studies.comparison.estimate import plan_study as plan_study
from gmvae_fast.studies.comparison.protocol import PROFILES as PROFILES
from gmvae_fast.studies.comparison.protocol import Profile as Profile
from gmvae_fast.studies.comparison.questions import QUESTIONS as QUESTIONS
from gmvae_fast.studies.comparison.results import Results as Results
from gmvae_fast.studies.comparison.store import ResultStore as ResultStore
from gmvae_fast.studies.comparison.store import load_results as load_results
from gmvae_fast.studies.comparison.study import StudyOutcome as StudyOutcome
from gmvae_fast.studies.comparison.study import run_study as run_study
from gmvae_fast.studies.comparison.targets import check_targets as check_targets
