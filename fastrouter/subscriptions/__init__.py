"""Announcements: who may announce what, and the table that they make."""
