"""Proximal policy optimisation over a graph neural network.

Schulman et al. 2017, https://arxiv.org/abs/1707.06347; details after Huang et al. 2022, "The 37
implementation details of PPO", https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/.
"""
