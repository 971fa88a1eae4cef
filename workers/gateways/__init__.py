"""What is particular to each router: how its clients speak."""
