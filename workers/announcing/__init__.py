"""Announcing the local application."""
