"""What is computed and how: checks, problems, configurations. Pure Python on integers: no CUDA, no arrays."""
