"""Judging answers: choices among letters, written answers, programs."""
