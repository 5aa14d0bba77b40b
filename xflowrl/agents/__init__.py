"""The agents: one file each, every one an `xflowrl.problem.Agent`."""
