"""Reload and upgrade in place."""
