"""Configuration: from ini files, the command line and the environment to typed options.

The way of a value: ``ini`` and ``commandline`` read (name, value, origin) pairs, ``collect`` puts them in
order and follows includes and logic, ``expand`` replaces placeholders, ``resolve`` checks them against the
options declared in ``options`` and fills the typed groups, ``report`` prints the outcome.
"""
