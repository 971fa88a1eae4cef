"""From a key to a node: pools, balancing, health."""
