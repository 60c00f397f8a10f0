"""Command lines, and the code that reproduces the numbers in the documentation."""
