"""Tests of nanosolo, in folders as the code, and what they share in `helpers`."""
