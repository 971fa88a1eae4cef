"""The ini dialect: from text to (option, value) pairs."""
