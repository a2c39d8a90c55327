"""python -m gmvae_fast.cli"""

from gmvae_fast.cli import main

main()
