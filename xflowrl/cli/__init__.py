"""The command line of experiments: Hydra, sweeps, help, interrupts, going on with a run."""
