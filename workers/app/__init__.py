"""The app workers, which serve the local application."""
