"""Answers to problems and how they are graded: multiple choice, generated text, programs; rollouts; evaluators."""
