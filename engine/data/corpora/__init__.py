"""Texts to pretrain on, one module a source."""
