"""What the benchmarks share: contestants, load, lists, and how figures become a table."""
