"""xflowrl: faster neural networks by graph substitutions."""
